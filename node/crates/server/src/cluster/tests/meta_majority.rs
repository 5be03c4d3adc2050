//! The meta group loses its majority for ever, and goes on with what one node has of it.

use super::*;
use crate::meta::settings::SettingKey;
use crate::meta::{EventKind, MetaCommand};

async fn set_grace(server: &Server, value: u64) {
    let command = MetaCommand::SetSetting { key: SettingKey::RepairGrace, value };
    server.meta().propose(command).await.unwrap();
}

fn grace(server: &Server) -> u64 {
    server.meta().now().settings.get(SettingKey::RepairGrace)
}

#[tokio::test(start_paused = true)]
async fn a_survivor_of_three_goes_on_alone_and_is_refused_where_a_majority_answers() {
    let net = TestNet::default();
    let (mut machines, servers) = three(&net).await;
    let [first, second, third] = <[Server; 3]>::try_from(servers).ok().unwrap();
    set_grace(&first, 420_000).await;
    settle(&[&first, &second, &third], 3).await;

    third.shutdown().await.unwrap();
    machines[2].config.cluster.recover_meta_group = true;
    let text = chain(&machines[2].start(&net).await.err().unwrap());
    assert!(text.contains("node 1") && text.contains("without --recover-meta-group"), "{text}");

    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
    let survivor = machines[2].start(&net).await.unwrap();
    let leads = || survivor.meta().is_leader() && survivor.meta().group().state().voters.len() == 1;
    until("it leads alone", leads).await;
    assert_eq!(grace(&survivor), 420_000, "what it had is kept");
    set_grace(&survivor, 480_000).await;
    let state = survivor.meta().now();
    assert!(
        state.events.iter().any(|it| it.kind == EventKind::Trouble && it.text.contains("goes on with what node 3"))
    );
    // Said again, it does nothing.
    survivor.shutdown().await.unwrap();
    let survivor = machines[2].start(&net).await.unwrap();
    until("it leads alone", || survivor.meta().is_leader()).await;
    assert_eq!(grace(&survivor), 480_000);
}

#[tokio::test(start_paused = true)]
async fn those_that_are_left_follow_whoever_went_on_alone() {
    let net = TestNet::default();
    let mut machines: Vec<Machine> = (1..=5).map(|at| machine(at, if at == 1 { &[] } else { &[1] })).collect();
    let mut servers = Vec::new();
    for machine in &mut machines {
        servers.push(Some(machine.start(&net).await.unwrap()));
    }
    settle(&servers.iter().flatten().collect::<Vec<_>>(), 5).await;
    for server in servers.iter_mut().take(3) {
        server.take().unwrap().shutdown().await.unwrap();
    }
    sleep(Duration::from_secs(5)).await;
    let mut left: Vec<(usize, Server)> =
        servers.into_iter().enumerate().filter_map(|(at, server)| Some((at, server?))).collect();
    let end = |server: &Server| server.meta().group().log_end().map(|end| (end.term, end.index));
    left.sort_by_key(|(_, server)| end(server));
    let ((behind, other), (furthest, survivor)) = (left.remove(0), left.remove(0));
    survivor.shutdown().await.unwrap();
    machines[furthest].config.cluster.recover_meta_group = true;
    let survivor = match machines[furthest].start(&net).await {
        Ok(survivor) => survivor,
        Err(error) => panic!("{}", chain(&error)),
    };
    set_grace(&survivor, 420_000).await;
    until("the other one follows", || grace(&other) == 420_000).await;
    // A second one would be a second group.
    other.shutdown().await.unwrap();
    machines[behind].config.cluster.recover_meta_group = true;
    let text = chain(&machines[behind].start(&net).await.err().unwrap());
    assert!(text.contains("leads the meta group: nothing is to be recovered"), "{text}");
}
