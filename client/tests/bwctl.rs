//! The real `bwctl`, against nodes that answer what a test says: what it prints, where, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod support;

use bellwether_client::v1::*;
use expect_test::expect;
use support::command::{bwctl, check, cluster, operation};
use support::{FakeNode, Script};
use tonic::Status;

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_printed_for_people() {
    let node = FakeNode::start(cluster()).await;
    check(
        &node.address,
        "cluster status",
        expect![[r#"
            cluster         00112233445566778899aabbccddeeff
            founded         2026-11-20T08:00:00.000Z
            format version  1 (2 is possible: bwctl cluster finalize)
            nodes           2 active, 1 draining, 1 down
            wrong clocks    3: lead nothing until that is set right
            meta group      leader 1, voters 1 2 3
            shard groups    2 of 3 copies: 1 without leader, 2 short of copies, 1 in motion
            data            1000 series, 1.0 MiB in one copy
            -> 0
        "#]],
    );
    check(
        &node.address,
        "cluster nodes",
        expect![[r#"
        ID  ADDRESS        STATE     UP   ZONE    VERSION  LEADERS  REPLICAS  SERIES    BYTES       FREE  CLOCK
         1  10.0.0.1:9481  active    yes  zone-1  0.1.0          3         8  120000  5.0 GiB  700.0 GiB  -2 ms
         2  10.0.0.2:9481  draining  yes  zone-2  0.1.0          3         8  120000  5.0 GiB  700.0 GiB  -2 ms
         3  10.0.0.3:9481  active    no   zone-3  0.1.0          3         8       -        -          -      -
        -> 0
    "#]],
    );
    check(
        &node.address,
        "cluster shards",
        expect![[r#"
        ID  RANGE                              LEADER  REPLICAS           SERIES    BYTES  NOTES
         0  0000000000000000-7fffffffffffffff       1  1 2 3(learner, ?)    1000  1.0 MiB  node 3 replaces node 2
         1  8000000000000000-ffffffffffffffff       -  1(?) 2(17 behind)       -        -  splits at c000000000000000 into 2; node 2: its disk is full
        -> 0
    "#]],
    );
    check(
        &node.address,
        "cluster shards --node 3",
        expect![[r#"
        ID  RANGE                              LEADER  REPLICAS           SERIES    BYTES  NOTES
         0  0000000000000000-7fffffffffffffff       1  1 2 3(learner, ?)    1000  1.0 MiB  node 3 replaces node 2
        -> 0
    "#]],
    );
    check(
        &node.address,
        "cluster events",
        expect![[r#"
        NUMBER  TIME                      ABOUT    WHAT HAPPENED
             1  2026-11-20T08:00:00.000Z  cluster  founded
             2  2026-11-20T08:01:01.250Z  node     node 2 drains
        -> 0
    "#]],
    );
    check(
        &node.address,
        "config get",
        expect![[r#"
        NAME                VALUE  DEFAULT  WHAT FOR
        replication.factor  5      3        what it is for
        nodes.max           3               what it is for
        -> 0
    "#]],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_printed_for_programs() {
    let node = FakeNode::start(cluster()).await;
    check(
        &node.address,
        "cluster status --json",
        expect![[r#"
            {
              "active_version": 1,
              "bytes": 1048576,
              "cluster": "00112233445566778899aabbccddeeff",
              "copies_wanted": 3,
              "finalize_version": 2,
              "founded_ms": 1795161600000,
              "meta_leader": 1,
              "meta_voters": [
                1,
                2,
                3
              ],
              "node": 1,
              "nodes": {
                "active": 2,
                "behind": [],
                "clock_wrong": [
                  3
                ],
                "down": 1,
                "draining": 1,
                "joining": 0
              },
              "placement_epoch": 7,
              "series": 1000,
              "shard_groups": {
                "in_motion": 1,
                "short_of_copies": 2,
                "total": 2,
                "without_leader": 1
              }
            }
            -> 0
        "#]],
    );
    check(
        &node.address,
        "cluster shards --json --node 3",
        expect![[r#"
        [
          {
            "bytes": 1048576,
            "id": 0,
            "leader": 1,
            "range": "0000000000000000-7fffffffffffffff",
            "replicas": [
              {
                "id": 1,
                "lag": 0,
                "node": 1,
                "replaces": null,
                "role": "voter",
                "trouble": null
              },
              {
                "id": 2,
                "lag": 0,
                "node": 2,
                "replaces": null,
                "role": "voter",
                "trouble": null
              },
              {
                "id": 20,
                "lag": null,
                "node": 3,
                "replaces": 2,
                "role": "learner",
                "trouble": null
              }
            ],
            "series": 1000,
            "split": null
          }
        ]
        -> 0
    "#]],
    );
    check(
        &node.address,
        "cluster events --json --after 1",
        expect![[r#"
        [
          {
            "at_ms": 1795161661250,
            "kind": "node",
            "number": 2,
            "text": "node 2 drains"
          }
        ]
        -> 0
    "#]],
    );
    check(
        &node.address,
        "config get nodes.max --json",
        expect![[r#"
        [
          {
            "chosen": false,
            "default": "3",
            "help": "what it is for",
            "max": "7",
            "min": "1",
            "name": "nodes.max",
            "value": "3"
          }
        ]
        -> 0
    "#]],
    );
    node.with(|script| script.nodes.truncate(1));
    check(
        &node.address,
        "--json cluster nodes",
        expect![[r#"
        [
          {
            "address": "10.0.0.1:9481",
            "bytes": 5368709120,
            "capacity_bytes": 1099511627776,
            "clock_off_ms": null,
            "clock_offset_ms": -2,
            "free_bytes": 751619276800,
            "http_address": "10.0.0.1:9480",
            "id": 1,
            "joined_ms": 1795161600000,
            "leaders": 3,
            "meta_voter": true,
            "replicas": 8,
            "series": 120000,
            "state": "active",
            "up": true,
            "version": "0.1.0",
            "zone": "zone-1"
          }
        ]
        -> 0
    "#]],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_come_with_advice_and_end_with_1_if_they_are_serious() {
    let node = FakeNode::start(Script::default()).await;
    check(
        &node.address,
        "doctor",
        expect![[r#"
        nothing is wrong
        -> 0
    "#]],
    );
    let finding = |severity: Severity| Finding {
        severity: severity.into(),
        subject: "node 3".to_owned(),
        problem: "does not answer".to_owned(),
        advice: "start it".to_owned(),
    };
    node.with(|script| script.findings = vec![finding(Severity::Warning)]);
    check(
        &node.address,
        "doctor",
        expect![[r#"
        SEVERITY  ABOUT   PROBLEM          ADVICE
        warning   node 3  does not answer  start it
        -> 0
    "#]],
    );
    node.with(|script| script.findings.insert(0, finding(Severity::Error)));
    check(
        &node.address,
        "doctor --json",
        expect![[r#"
        [
          {
            "advice": "start it",
            "problem": "does not answer",
            "severity": "error",
            "subject": "node 3"
          },
          {
            "advice": "start it",
            "problem": "does not answer",
            "severity": "warning",
            "subject": "node 3"
          }
        ]
        -> 1
    "#]],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_come_and_go() {
    let node = FakeNode::start(cluster()).await;
    check(
        &node.address,
        "node add",
        expect![[r#"
            on the new machine, with a directory that is empty (its files are made by bwctl tls node HOST):
              bellwether --data-dir DIR --http HOST:9480 --grpc HOST:9481 --set tls.ca=FILE --set tls.cert=FILE --set tls.key=FILE --join 10.0.0.1:9481 --join 10.0.0.3:9481 --set cluster.join_token=00000000000000ff.secret
            -> 0
        "#]],
    );
    check(
        &node.address,
        "node add --with-token --json",
        expect![[r#"
            {"command":"bellwether --data-dir DIR --http HOST:9480 --grpc HOST:9481 --set tls.ca=FILE --set tls.cert=FILE --set tls.key=FILE --join 10.0.0.1:9481 --join 10.0.0.3:9481 --set cluster.join_token=00000000000000ff.secret","join":["10.0.0.1:9481","10.0.0.3:9481"],"token":"00000000000000ff.secret"}
            -> 0
        "#]],
    );
    node.with(|script| {
        let uncounted = |state, progress: &str, outcome: &str| Operation {
            total_bytes: 0,
            ..operation(state, 0, progress, outcome)
        };
        script.operations = vec![
            uncounted(OperationState::Running, "node 1: 8 replicas left", ""),
            uncounted(OperationState::Done, "", "node 1 is empty: bwctl node remove 1"),
        ];
    });
    check(
        &node.address,
        "node drain 1 --wait",
        expect![[r#"
        node 1 is draining, with 8 replicas: operation 1-7
        node 1: 8 replicas left
        node 1 is empty: bwctl node remove 1
        -> 0
    "#]],
    );
    check(
        &node.address,
        "node drain 1 --json",
        expect![[r#"
        {"id":1,"operation":"1-7","replicas":0,"state":"draining"}
        -> 0
    "#]],
    );
    check(
        &node.address,
        "shard move 0 --from 1 --to 3",
        expect![[r#"
        shard group 0 moves from node 1 to node 3: operation 1-7
        -> 0
    "#]],
    );
    check(
        &node.address,
        "node undrain 1",
        expect![[r#"
        node 1 is active
        -> 0
    "#]],
    );
    check(
        &node.address,
        "node remove 2",
        expect![[r#"
        bwctl: Node 2 is removed for ever: say --yes if that is wanted, there is nobody to ask
        -> 2
    "#]],
    );
    check(
        &node.address,
        "node remove 2 --yes",
        expect![[r#"
        node 2 is removed, with 8 replicas
        -> 0
    "#]],
    );
    check(
        &node.address,
        "node replace 3 3 --yes",
        expect![[r#"
        bwctl: node 3 is no active node that answers: start one with --join (bwctl node add)
        -> 1
    "#]],
    );
    check(
        &node.address,
        "node replace 3 1 --yes --json --detach",
        expect![[r#"
        {"id":3,"replicas":8,"state":"removed"}
        -> 0
    "#]],
    );
    let asked = node.with(|script| script.asked.join("\n"));
    expect![[r#"
        token Join 0ms 1x
        token Join 0ms 1x
        node 1 Draining force=false
        drain 1
        node 1 Draining force=false
        drain 1
        move 0 from 1 to 3
        node 1 Active force=false
        node 2 Removed force=false
        node 3 Removed force=true"#]]
    .assert_eq(&asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_tokens_and_leadership_are_changed() {
    let node = FakeNode::start(cluster()).await;
    check(
        &node.address,
        "config set replication.factor 5",
        expect![[r#"
        replication.factor = 5
        -> 0
    "#]],
    );
    check(
        &node.address,
        "config set replication.factor --default --json",
        expect![[r#"
        {"chosen":false,"default":"","help":"","max":"","min":"","name":"replication.factor","value":"3"}
        -> 0
    "#]],
    );
    check(
        &node.address,
        "token create --kind admin --valid 90m",
        expect![[r#"
        00000000000000ff.secret
        works until 2026-11-20T09:00:00.000Z
        -> 0
    "#]],
    );
    check(
        &node.address,
        "shard transfer-leader 1 2",
        expect![[r#"
        node 2 leads shard group 1
        -> 0
    "#]],
    );
    check(
        &node.address,
        "shard split 0 --at 40000000ffffffff --json",
        expect![[r#"
        {"at":"40000000ffffffff","child":9,"group":0}
        -> 0
    "#]],
    );
    check(
        &node.address,
        "shard split 0 --wait",
        expect![[r#"
        shard group 0 is split at 0000000000001234: the upper part goes to shard group 9
        shard group 0 was split
        -> 0
    "#]],
    );
    check(
        &node.address,
        "cluster finalize",
        expect![[r#"
        bwctl: After this, programs older than the newest format cannot come back: say --yes if that is wanted, there is nobody to ask
        -> 2
    "#]],
    );
    check(
        &node.address,
        "cluster finalize --yes",
        expect![[r#"
        all nodes use version 2 now, it was 1
        -> 0
    "#]],
    );
    check(
        &node.address,
        "rebalance --dry-run",
        expect![[r#"
        nothing is to be moved
        -> 0
    "#]],
    );
    node.with(|script| {
        let (step, reason) = ("add learner 3 for 1".to_owned(), "node 3 holds fewer".to_owned());
        script.moves = vec![PlannedMove { group: 12, step, reason }];
        script.held = vec!["group 3: no node has room".to_owned()];
    });
    check(
        &node.address,
        "rebalance --dry-run",
        expect![[r#"
        GROUP  STEP                 REASON
           12  add learner 3 for 1  node 3 holds fewer
        not possible now: group 3: no node has room
        -> 0
    "#]],
    );
    check(
        &node.address,
        "rebalance --dry-run --json",
        expect![[r#"
        {
          "held": [
            "group 3: no node has room"
          ],
          "moves": [
            {
              "group": 12,
              "reason": "node 3 holds fewer",
              "step": "add learner 3 for 1"
            }
          ]
        }
        -> 0
    "#]],
    );
    let asked = node.with(|script| script.asked.join("\n"));
    expect![[r#"
        set replication.factor Some("5")
        set replication.factor None
        token Admin 5400000ms 1x
        transfer 1 to 2
        split 0 at Some(40000000ffffffff)
        split 0 at None
        finalize"#]]
    .assert_eq(&asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_are_evaluated() {
    let node = FakeNode::start(Script::default()).await;
    check(
        &node.address,
        "query instant up --time 1795161600",
        expect![[r#"
        SERIES        TIME                      VALUE
        {query="up"}  2026-11-20T08:00:00.000Z    1.5
        bwctl: a warning
        -> 0
    "#]],
    );
    check(
        &node.address,
        "query instant up --time 1795161600 --format csv",
        expect![[r#"
        query,timestamp_ms,value
        up,1795161600000,1.5
        bwctl: a warning
        -> 0
    "#]],
    );
    check(
        &node.address,
        "query range up --start 0 --end 20 --step 10s --json",
        expect![[r#"
        {
          "result": [
            {
              "metric": {},
              "values": [
                [
                  0.0,
                  "0"
                ],
                [
                  10.0,
                  "10000"
                ],
                [
                  20.0,
                  "20000"
                ]
              ]
            }
          ],
          "resultType": "matrix"
        }
        -> 0
    "#]],
    );
    check(
        &node.address,
        "query range up --start 0 --end 20 --step 10s --format plot --width 40",
        expect![[r#"
            20k ┤                                 ⡠⠊
                ┤                               ⡠⠊
                ┤                            ⢀⠔⠉
                ┤                          ⢀⠔⠁
                ┤                        ⢀⠔⠁
                ┤                      ⢀⠔⠁
                ┤                    ⡠⠊⠁
                ┤                  ⡠⠊
            10k ┤                ⡠⠊
                ┤             ⢀⠔⠉
                ┤           ⢀⠔⠁
                ┤         ⡠⠊⠁
                ┤      ⢀⡠⠊
                ┤    ⢀⠔⠁
                ┤  ⣀⠔⠁
              0 ┤⡠⠊
                └───────────────────────────────────
                 1970-01-01T00:00:00.000Z
                            1970-01-01T00:00:20.000Z
            ━━ {}  20k
            -> 0
        "#]],
    );
    check(
        &node.address,
        "query instant up --time 1795161600 --explain",
        expect![[r#"
            STEP                                    TIME  SERIES  VALUES  BYTES
            /                                   0.012 ms       2       5  300 B
              sum by (a), where the series are  0.012 ms       2       5  300 B
                {a=~"b.*"}                      0.012 ms       2       5  300 B

            READ             FROM                      TO                        HOW                                TIME  SERIES  SAMPLES    BYTES
            {__name__="up"}  2026-11-20T07:55:00.001Z  2026-11-20T08:00:00.000Z  the newest sample              1.400 ms       3        3  2.0 KiB
            {a=~"b.*"}       1970-01-01T00:00:00.000Z  1970-01-01T00:00:00.001Z  all samples, aggregated there  0.090 ms       0      997    100 B

            WHAT                  HOW MUCH
            times evaluated              1
            series                       3
            samples                   1000
            memory                 5.0 MiB
            time until it ran     0.010 ms
            time to read          1.500 ms
            time to evaluate   2000.000 ms
            bwctl: a warning
            -> 0
        "#]],
    );
    check(
        &node.address,
        "query range up --start now --end -1h",
        expect![[r#"
        bwctl: --start is after --end
        -> 2
    "#]],
    );
    node.with(|script| {
        script
            .failures
            .push_back(Status::invalid_argument("invalid parameter \"query\": 1:3: parse error: unexpected end"))
    });
    check(
        &node.address,
        "query instant up( --tenant a",
        expect![[r#"
            bwctl: invalid parameter "query": 1:3: parse error: unexpected end
                   up(
                     ^
            -> 1
        "#]],
    );
    assert_eq!(node.with(|script| script.tenants.last().cloned()), Some(Some("a".to_owned())));
    assert_eq!(bwctl(&node.address, "query instant up --stale 10s --partial-response").0, 0);
    assert_eq!(node.with(|script| script.asked.pop()), Some("query: stale Some(10000), partial true".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_to_do_next() {
    // Nobody listens on port 1, and nobody may without being root.
    check(
        "127.0.0.1:1",
        "cluster status",
        expect![[r#"
        bwctl: no node can be reached: 127.0.0.1:1: Connection refused (os error 111)
               start a node, or name one that runs: --address HOST:PORT (its gRPC address) or BWCTL_ADDRESS
        -> 3
    "#]],
    );
    check(
        "nonsense",
        "cluster status",
        expect![[r#"
        bwctl: "nonsense" is no address of a node: it must be host:port
        -> 2
    "#]],
    );
    let node = FakeNode::start(Script::default()).await;
    let refuse = |status: Status, expected| {
        node.with(|script| script.failures.extend([status.clone(), status]));
        check(&node.address, "cluster nodes", expected);
        node.with(|script| script.failures.clear());
    };
    refuse(
        Status::failed_precondition("node 2 still holds 3 replicas: drain it first"),
        expect![[r#"
        bwctl: node 2 still holds 3 replicas: drain it first
        -> 1
    "#]],
    );
    refuse(
        Status::unimplemented("unknown method"),
        expect![[r#"
        bwctl: unknown method
               the node does not know this command: its program is older than this bwctl
        -> 1
    "#]],
    );
    refuse(
        Status::internal("a bug"),
        expect![[r#"
        bwctl: a bug
               the node's log says more
        -> 1
    "#]],
    );
    refuse(
        Status::permission_denied("not on this address"),
        expect![[r#"
        bwctl: not on this address
        -> 1
    "#]],
    );
    let (code, text) = bwctl(&node.address, "cluster nonsense");
    assert!(code == 2 && text.contains("unrecognized subcommand"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn completion_and_manual_are_made_without_a_cluster() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, text) = bwctl("127.0.0.1:1", &format!("completion {shell}"));
        assert!(code == 0 && text.contains("transfer-leader"), "{shell}: {text}");
    }
    let (code, text) = bwctl("127.0.0.1:1", "man");
    assert!(code == 0 && text.starts_with(".ie") && text.contains("bwctl"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_listed_and_revoked() {
    let info = |id: &str, kind: TokenKind, state: TokenState, used| TokenInfo {
        id: id.to_owned(),
        kind: kind.into(),
        state: state.into(),
        created_ms: 1_795_161_600_000,
        expires_ms: 1_795_165_200_000,
        uses: 2,
        used,
    };
    let tokens_made = vec![
        info("00000000000000aa", TokenKind::Join, TokenState::Valid, 1),
        info("00000000000000bb", TokenKind::Admin, TokenState::Revoked, 0),
    ];
    let node = FakeNode::start(Script { tokens_made, ..cluster() }).await;
    check(
        &node.address,
        "token list",
        expect![[r#"
        ID                KIND   STATE    USED    EXPIRES
        00000000000000aa  join   valid    1 of 2  2026-11-20T09:00:00.000Z
        00000000000000bb  admin  revoked          2026-11-20T09:00:00.000Z
        -> 0
    "#]],
    );
    check(
        &node.address,
        "token revoke 00000000000000aa.secret",
        expect![[r#"
        token 00000000000000aa is revoked
        -> 0
    "#]],
    );
    check(
        &node.address,
        "token create --uses 2 --json",
        expect![[r#"
        {"expires_ms":1795165200000,"token":"00000000000000ff.secret"}
        -> 0
    "#]],
    );
}

#[test]
fn certificates_are_made_and_never_overwritten() {
    let directory = std::env::temp_dir().join(format!("bwctl-tls-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    let dir = directory.to_str().unwrap();
    let run = |arguments: &str| {
        let (code, text) = bwctl("127.0.0.1:1", &format!("{arguments} --dir {dir}"));
        format!("{}-> {code}\n", text.replace(dir, "DIR"))
    };
    expect![[r#"
        bwctl: DIR/ca.pem is not there: make an authority first, with bwctl tls ca
        -> 1
    "#]]
    .assert_eq(&run("tls node a.example"));
    expect![[r#"
        DIR/ca.pem: the authority. Keep DIR/ca-key.pem away from the nodes: whoever has it can make nodes and administrators
          bwctl tls node HOST --dir DIR     for each node
        -> 0
    "#]].assert_eq(&run("tls ca"));
    expect![[r#"
        DIR/node-a.example.pem: for the node at a.example. Bring it there with DIR/node-a.example-key.pem and ca.pem, and start the node with
          --set tls.ca=DIR/ca.pem --set tls.cert=DIR/node-a.example.pem --set tls.key=DIR/node-a.example-key.pem
        -> 0
    "#]].assert_eq(&run("tls node a.example 10.0.0.1"));
    expect![[r#"
        bwctl: DIR/node-a.example-key.pem is there already: move it away, or name another --dir
        -> 1
    "#]]
    .assert_eq(&run("tls node a.example"));
    expect![[r#"
        {"ca":"DIR/ca.pem","cert":"DIR/node-fd00--1.pem","key":"DIR/node-fd00--1-key.pem"}
        -> 0
    "#]]
    .assert_eq(&run("tls node fd00::1 --json"));
    expect![[r#"
        DIR/admin-ada.pem: who has it and its key may administer:
          bwctl --tls-ca DIR/ca.pem --tls-cert DIR/admin-ada.pem --tls-key DIR/admin-ada-key.pem cluster status
        -> 0
    "#]]
    .assert_eq(&run("tls admin ada"));
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!([mode("ca-key.pem"), mode("node-a.example-key.pem"), mode("ca.pem")], [0o600, 0o600, 0o644]);
    let files =
        |name: &str| format!("--tls-ca {dir}/ca.pem --tls-cert {dir}/{name}.pem --tls-key {dir}/{name}-key.pem");
    let asked = |arguments: &str| bwctl("https://127.0.0.1:1", arguments).1.replace(dir, "DIR");
    expect![[r#"
        bwctl: no node can be reached: 127.0.0.1:1: Connection refused (os error 111)
               start a node, or name one that runs: --address HOST:PORT (its gRPC address) or BWCTL_ADDRESS
    "#]]
    .assert_eq(&asked(&format!("cluster status {}", files("admin-ada"))));
    expect![[r#"
        bwctl: --tls-cert: cannot read DIR/nobody.pem: No such file or directory (os error 2)
    "#]]
    .assert_eq(&asked(&format!("cluster status {}", files("nobody"))));
    expect![[r#"
        bwctl: https://127.0.0.1:1: TLS needs the certificate of the nodes' authority
               name the authority's certificate with --tls-ca, or leave TLS out
    "#]]
    .assert_eq(&asked("cluster status"));
    std::fs::remove_dir_all(&directory).unwrap();
}
