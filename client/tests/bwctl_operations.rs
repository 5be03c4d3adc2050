//! The real `bwctl`: what takes long or is dangerous.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod support;

use bellwether_client::v1::*;
use expect_test::expect;
use support::FakeNode;
use support::command::{check, cluster, operation};

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_begun_watched_and_cancelled() {
    let mut script = cluster();
    script.operations = vec![
        operation(OperationState::Running, 1 << 20, "1 of 4 shard groups", ""),
        operation(OperationState::Running, 3 << 20, "3 of 4 shard groups", ""),
        operation(OperationState::Done, 4 << 20, "", "backup 20261120T080000Z-00000001 has 4194304 bytes"),
    ];
    let node = FakeNode::start(script).await;
    check(
        &node.address,
        "rebalance",
        expect![[r#"
            nothing is to be moved
             25%  1.0 MiB of 4.0 MiB  1 of 4 shard groups
             75%  3.0 MiB of 4.0 MiB  3 of 4 shard groups
            -> 0
        "#]],
    );
    check(
        &node.address,
        "rebalance --detach",
        expect![[r#"
            operation 1-7: bwctl operation watch 1-7
            -> 0
        "#]],
    );
    check(
        &node.address,
        "backup create file:///b",
        expect![[r#"
            backup 20261120T080000Z-00000001 has 4194304 bytes
             25%  1.0 MiB of 4.0 MiB  1 of 4 shard groups
             75%  3.0 MiB of 4.0 MiB  3 of 4 shard groups
            -> 0
        "#]],
    );
    check(
        &node.address,
        "backup create file:///b --detach",
        expect![[r#"
            operation 1-7: bwctl operation watch 1-7
            -> 0
        "#]],
    );
    check(
        &node.address,
        "backup delete file:///b x",
        expect![[r#"
            bwctl: Backup x at file:///b is deleted for ever: say --yes if that is wanted, there is nobody to ask
            -> 2
        "#]],
    );
    check(
        &node.address,
        "operation cancel 1-7",
        expect![[r#"
            operation 1-7 is cancelled
            -> 0
        "#]],
    );
    check(
        &node.address,
        "restore file:///b --skip-verify --detach",
        expect![[r#"
            operation 1-7: bwctl operation watch 1-7
            -> 0
        "#]],
    );
    node.with(|script| script.operations = vec![operation(OperationState::Failed, 0, "", "object x is not there")]);
    check(
        &node.address,
        "backup verify file:///b 20261120T080000Z-00000001",
        expect![[r#"
            bwctl: object x is not there
            -> 1
        "#]],
    );
    check(
        &node.address,
        "operation list",
        expect![[r#"
            ID   STATE   BEGAN                     WHAT                     PROGRESS
            1-7  failed  2026-11-20T08:00:00.000Z  backup create file:///b  object x is not there
            node 3 does not answer: its operations are not shown
            -> 0
        "#]],
    );
    let asked = node.with(|script| script.asked.join("\n"));
    expect![[r#"
        rebalance
        rebalance
        backup create file:///b
        backup create file:///b
        cancel 1-7
        restore file:///b  false true false
        backup verify file:///b 20261120T080000Z-00000001"#]]
    .assert_eq(&asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_listed_and_a_damaged_one_says_so() {
    let mut script = cluster();
    script.backups = vec![
        BackupInfo {
            id: "a".to_owned(),
            trouble: "object manifests/a: it is damaged".to_owned(),
            ..Default::default()
        },
        BackupInfo {
            id: "b".to_owned(),
            cluster: "00ff".to_owned(),
            started_ms: 1_795_161_600_000,
            shard_groups: 8,
            series: 1000,
            samples: 2000,
            bytes: 1 << 20,
            own_bytes: 1 << 10,
            ..Default::default()
        },
    ];
    let node = FakeNode::start(script).await;
    check(
        &node.address,
        "backup list file:///b",
        expect![[r#"
            BACKUP  MADE                               GROUPS  SERIES  SAMPLES     SIZE      NEW  CLUSTER
            a       object manifests/a: it is damaged
            b       2026-11-20T08:00:00.000Z                8    1000     2000  1.0 MiB  1.0 KiB  00ff
            -> 0
        "#]],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_recovered_only_by_who_says_that_it_is_unsafe() {
    let node = FakeNode::start(cluster()).await;
    check(
        &node.address,
        "group recover 1",
        expect![[r#"
            Shard group 1 has lost its majority. Node 2 has its log up to entry 103; the last that is known to be acknowledged is entry 100, of 2026-11-20T08:00:00.000Z, and 3 behind it may or may not be.
            What was acknowledged after that and is only on the lost nodes is LOST. Do not start those nodes again with their data: remove them with bwctl node remove --force.
            bwctl: nothing was done: say --unsafe if that is wanted
            -> 1
        "#]],
    );
    check(
        &node.address,
        "group recover 1 --unsafe",
        expect![[r#"
            Shard group 1 has lost its majority. Node 2 has its log up to entry 103; the last that is known to be acknowledged is entry 100, of 2026-11-20T08:00:00.000Z, and 3 behind it may or may not be.
            What was acknowledged after that and is only on the lost nodes is LOST. Do not start those nodes again with their data: remove them with bwctl node remove --force.
            bwctl: Shard group 1 begins anew with what node 2 has of it: say --yes if that is wanted, there is nobody to ask
            -> 2
        "#]],
    );
    let asked = node.with(|script| script.asked.join("\n"));
    expect![[r#"
        recover 1 from 0 look_only=true
        recover 1 from 0 look_only=true"#]]
    .assert_eq(&asked);
}
