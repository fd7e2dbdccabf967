//! A replica follows a primary: catching up, commits, drops, roles.

mod support;

use std::sync::Arc;

use replication::FollowState;
use store::{ClusterId, Epoch, Lag, PrimaryInfo, Role};
use support::node::{Node, config, name};
use support::{image, until};

/// Waits until both have the same databases at the same positions, then compares the bytes.
async fn until_equal(primary: &Node, replica: &Node) {
    let places = |node: &Node| -> Vec<_> {
        node.store
            .databases()
            .iter()
            .map(|db| (db.name().clone(), db.incarnation(), db.pos()))
            .collect()
    };
    until("equal positions", || places(primary) == places(replica)).await;
    for db in primary.names() {
        assert!(
            primary.content(&db) == replica.content(&db),
            "the bytes of {db} differ"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_gets_everything_and_then_every_commit() {
    for mode in ["DELETE", "WAL"] {
        let (primary, replica) = (Node::primary(), Node::replica());
        primary.import("large.db", &image(2000, 1, mode));
        primary.import("small.db", &image(3, 2, mode));
        let serving = primary.serve().await;
        let following = replica.follow(&serving.url());
        following.until_in_sync().await;
        until_equal(&primary, &replica).await;
        for commit in 0..5 {
            primary.import("small.db", &image(3 + commit, 10, mode));
        }
        primary.import("new.db", &image(1, 3, mode));
        until_equal(&primary, &replica).await;
        assert_eq!(replica.pos("small.db").txid.get(), 6);

        let connected = Role::Replica {
            primary: Some(PrimaryInfo {
                hostname: "primary-host".to_owned(),
                advertise_url: serving.url(),
            }),
        };
        assert_eq!(replica.store.role(), connected);
        until("in sync by the clock", || {
            matches!(replica.store.lag(), Lag::Behind(_))
        })
        .await;
        let status = &serving.replicas.list()[0];
        assert_eq!(
            (status.node_id, status.hostname.as_str()),
            (replica.store.node_id(), "replica-host")
        );
        assert!(
            status.address.starts_with("127.0.0.1:"),
            "{}",
            status.address
        );
        until("all is acknowledged", || {
            let all = ["large.db", "new.db", "small.db"].map(|db| (name(db), primary.pos(db)));
            serving.replicas.list()[0].acknowledged == all
        })
        .await;

        following.stop().await;
        assert_eq!(replica.store.role(), Role::Replica { primary: None });
        until("the primary knows that it left", || {
            serving.replicas.count() == 0
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_gets_what_it_missed() {
    let (primary, replica) = (Node::primary(), Node::replica());
    primary.import("a.db", &image(3, 1, "DELETE"));
    primary.import("deleted.db", &image(3, 1, "DELETE"));
    primary.import("replaced.db", &image(3, 1, "DELETE"));
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    following.stop().await;
    primary.import("a.db", &image(4, 2, "DELETE"));
    primary.import("a.db", &image(5, 3, "DELETE"));
    primary.store.unlink_database(&name("deleted.db")).unwrap();
    primary.store.unlink_database(&name("replaced.db")).unwrap();
    primary.import("replaced.db", &image(6, 4, "DELETE"));
    let replica = replica.restart(Role::Replica { primary: None });
    let applied = replica
        .store
        .database(&name("a.db"))
        .unwrap()
        .status()
        .applied;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    until_equal(&primary, &replica).await;
    let applied = replica
        .store
        .database(&name("a.db"))
        .unwrap()
        .status()
        .applied
        - applied;
    assert!(
        (1..=2).contains(&applied),
        "{applied} transactions instead of the ones that it missed"
    );
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_and_new_lives_of_a_database_arrive_while_connected() {
    let (primary, replica) = (Node::primary(), Node::replica());
    primary.import("a.db", &image(3, 1, "DELETE"));
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    until_equal(&primary, &replica).await;
    primary.store.unlink_database(&name("a.db")).unwrap();
    until("it is gone on the replica", || replica.names().is_empty()).await;
    for life in 0..5 {
        primary.import("a.db", &image(3 + life, 2, "DELETE"));
        if life % 2 == 0 {
            until_equal(&primary, &replica).await;
        }
        primary.store.unlink_database(&name("a.db")).unwrap();
    }
    primary.import("a.db", &image(9, 3, "WAL"));
    until_equal(&primary, &replica).await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_databases_at_once() {
    let (primary, replica) = (Node::primary(), Node::replica());
    // Some are in memory; the others are read from disk, and not all of them at the same time.
    let (small, large) = (image(20, 1, "DELETE"), image(700, 1, "DELETE"));
    let names: Vec<_> = (0..60).map(|number| format!("{number:03}.db")).collect();
    for (number, db) in names.iter().enumerate() {
        primary.import(db, if number % 4 == 0 { &large } else { &small });
    }
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    assert_eq!(replica.names(), names, "in sync means that all is applied");
    until_equal(&primary, &replica).await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_limits_what_is_followed_and_what_is_dropped() {
    let (primary, replica) = (Node::primary(), Node::replica());
    for db in ["a.db", "b.db", "other.db"] {
        primary.import(db, &image(2, 1, "DELETE"));
    }
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    following.stop().await;
    for db in ["a.db", "other.db"] {
        primary.store.unlink_database(&name(db)).unwrap();
    }
    primary.import("b.db", &image(4, 2, "DELETE"));
    let mut config = config(&serving.url());
    config.filter = vec![name("b.db"), name("a.db")];
    let following = replica.follow_with(config);
    following.until_in_sync().await;
    until("b.db is level", || {
        replica.pos("b.db") == primary.pos("b.db")
    })
    .await;
    until("a.db is dropped", || {
        replica.names() == ["b.db", "other.db"]
    })
    .await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_id_is_adopted_and_then_kept() {
    let (primary, stranger, replica) = (Node::primary(), Node::primary(), Node::replica());
    let cluster = ClusterId::random();
    primary.store.adopt_cluster_id(cluster.clone()).unwrap();
    stranger
        .store
        .adopt_cluster_id(ClusterId::random())
        .unwrap();
    primary.import("a.db", &image(2, 1, "DELETE"));
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    following.stop().await;
    assert_eq!(replica.store.cluster_id(), Some(cluster));

    let serving = stranger.serve().await;
    let following = replica.follow(&serving.url());
    let reason = following.until_refused().await;
    assert!(reason.contains("cluster"), "{reason}");
    following.stop().await;
    assert_eq!(
        replica.names(),
        ["a.db"],
        "another cluster's primary drops nothing"
    );
    assert_eq!(serving.replicas.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oneself_and_copies_are_refused() {
    let primary = Node::primary();
    let serving = primary.serve().await;
    let following = primary.follow(&serving.url());
    let reason = following.until_refused().await;
    assert!(reason.contains("itself"), "{reason}");
    following.stop().await;
    primary
        .store
        .set_role(Role::Primary {
            epoch: Epoch::new(2),
        })
        .unwrap();

    let copy = primary.cloned();
    let following = copy.follow(&serving.url());
    let reason = following.until_refused().await;
    assert!(reason.contains("copy"), "{reason}");
    following.stop().await;

    let original = Node::replica();
    let copy = original.cloned();
    let following = original.follow(&serving.url());
    following.until_in_sync().await;
    let second = copy.follow(&serving.url());
    let reason = second.until_refused().await;
    assert!(reason.contains("copy"), "{reason}");
    assert_eq!(
        *following.state.borrow(),
        FollowState::InSync,
        "the original goes on"
    );
    second.stop().await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_the_primary_sends_replicas_away_until_it_is() {
    let (node, replica) = (Node::replica(), Node::replica());
    let serving = node.serve().await;
    let following = replica.follow(&serving.url());
    let away = |state: &FollowState| matches!(state, FollowState::Connecting { error: Some(e) } if e.contains("not the primary"));
    following.until("sent away", away).await;
    node.store
        .set_role(Role::Primary {
            epoch: Epoch::new(5),
        })
        .unwrap();
    node.import("a.db", &image(2, 1, "DELETE"));
    following.until_in_sync().await;
    until_equal(&node, &replica).await;
    node.store.set_role(Role::None).unwrap();
    let demoted = |state: &FollowState| matches!(state, FollowState::Connecting { error: Some(e) } if e.contains("no longer"));
    following.until("sent away again", demoted).await;
    until("the role says so", || {
        replica.store.role() == Role::Replica { primary: None }
    })
    .await;
    // A lower epoch than before is an old primary.
    node.store
        .set_role(Role::Primary {
            epoch: Epoch::new(4),
        })
        .unwrap();
    following
        .until("an old epoch is refused", |state| {
            matches!(state, FollowState::Connecting { error: Some(e) } if e.contains("epoch"))
        })
        .await;
    node.store
        .set_role(Role::Primary {
            epoch: Epoch::new(6),
        })
        .unwrap();
    following.until_in_sync().await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_applied_after_following_has_ended() {
    let (primary, replica) = (Node::primary(), Node::replica());
    primary.import("a.db", &image(50, 1, "DELETE"));
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    let committing = {
        let store = Arc::clone(&primary.store);
        let images: Vec<_> = (0..20).map(|seed| image(50, seed, "DELETE")).collect();
        tokio::task::spawn_blocking(move || {
            for image in images {
                let mut import = store.begin_import(&name("a.db")).unwrap();
                import.write(&image).unwrap();
                import.commit().unwrap();
            }
        })
    };
    until("some came over", || replica.pos("a.db").txid.get() > 3).await;
    following.stop().await;
    let pos = replica.pos("a.db");
    committing.await.unwrap();
    assert_eq!(replica.pos("a.db"), pos);
    assert!(
        primary.pos("a.db").txid > pos.txid,
        "the test came too late to see anything"
    );
}
