//! Broken networks, stuck databases, full disks: what they delay, and that it heals.

mod support;

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use replication::FollowState;
use store::{FileKind, Lag, Role};
use support::node::{HEARTBEAT, Node, name};
use support::proxy::Proxy;
use support::{image, until};

async fn until_level(primary: &Node, replica: &Node, db: &str) {
    until(&format!("{db} is level"), || {
        replica.pos(db) == primary.pos(db)
    })
    .await;
}

/// Holds SHARED on a database as a reader does, for as long as it lives.
struct Reader(File);

impl Reader {
    fn new(node: &Node, db: &str) -> Reader {
        let file = File::options()
            .read(true)
            .write(true)
            .open(
                node.store
                    .data_dir()
                    .database(&name(db))
                    .file(FileKind::Database),
            )
            .unwrap();
        let lock = libc::flock {
            l_type: libc::F_RDLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0x4000_0002,
            l_len: 510,
            l_pid: 0,
        };
        // SAFETY: the descriptor is open, and `lock` is a valid flock for the duration of the call.
        let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) };
        assert_eq!(taken, 0, "{}", std::io::Error::last_os_error());
        Reader(file)
    }

    fn leave(self) {
        drop(self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_database_delays_no_other_and_goes_on_when_it_can() {
    let (primary, replica) = (Node::primary(), Node::replica());
    for db in ["stuck.db", "free.db"] {
        primary.import(db, &image(5, 1, "DELETE"));
    }
    let serving = primary.serve().await;
    let proxy = Proxy::start(serving.address).await;
    let following = replica.follow(&proxy.url());
    following.until_in_sync().await;
    let reader = Reader::new(&replica, "stuck.db");
    for seed in 2..6 {
        primary.import("stuck.db", &image(400, seed, "DELETE"));
        primary.import("free.db", &image(5, seed, "DELETE"));
    }
    until_level(&primary, &replica, "free.db").await;
    assert_eq!(replica.pos("stuck.db").txid.get(), 1);
    assert_eq!(
        *following.state.borrow(),
        FollowState::InSync,
        "the connection is as it was"
    );
    // Also a new connection does not wait for it.
    proxy.cut();
    until("connected again", || proxy.connections() == 2).await;
    following.until_in_sync().await;
    primary.import("free.db", &image(6, 7, "DELETE"));
    until_level(&primary, &replica, "free.db").await;
    reader.leave();
    until_level(&primary, &replica, "stuck.db").await;
    assert!(primary.content("stuck.db") == replica.content("stuck.db"));
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_ends_only_when_nothing_is_being_applied_any_more() {
    let (primary, replica) = (Node::primary(), Node::replica());
    primary.import("a.db", &image(5, 1, "DELETE"));
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    let reader = Reader::new(&replica, "a.db");
    primary.import("a.db", &image(5, 2, "DELETE"));
    let log = replica
        .store
        .data_dir()
        .database(&name("a.db"))
        .path()
        .join("ltx");
    until("it has come, and waits for the reader", || {
        fs::read_dir(&log).unwrap().count() == 2
    })
    .await;
    let state = following.state.clone();
    let stopping = tokio::spawn(following.stop());
    let began = Instant::now();
    until("a while has passed", || {
        began.elapsed() > Duration::from_millis(200)
    })
    .await;
    assert_ne!(
        *state.borrow(),
        FollowState::Stopped,
        "it is still being applied"
    );
    reader.leave();
    stopping.await.unwrap();
    assert_eq!(replica.pos("a.db"), primary.pos("a.db"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_on_which_nothing_happens_stays() {
    let (primary, replica) = (Node::primary(), Node::replica());
    let serving = primary.serve().await;
    let proxy = Proxy::start(serving.address).await;
    let following = replica.follow(&proxy.url());
    following.until_in_sync().await;
    let began = Instant::now();
    until("a dozen heartbeats", || began.elapsed() > HEARTBEAT * 12).await;
    assert_eq!(*following.state.borrow(), FollowState::InSync);
    assert!(
        matches!(replica.store.lag(), Lag::Behind(_)),
        "it is level with every heartbeat"
    );
    assert_eq!((proxy.connections(), serving.replicas.count()), (1, 1));
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_be_stored_is_tried_again_until_it_can() {
    let (primary, replica) = (Node::primary(), Node::replica());
    for db in ["broken.db", "sound.db"] {
        primary.import(db, &image(5, 1, "DELETE"));
    }
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    // Where its log should be there is a file: nothing can be written there.
    let log = replica
        .store
        .data_dir()
        .database(&name("broken.db"))
        .path()
        .join("ltx");
    let hidden = log.with_extension("hidden");
    fs::rename(&log, &hidden).unwrap();
    fs::write(&log, b"").unwrap();
    for seed in 2..5 {
        primary.import("broken.db", &image(5, seed, "DELETE"));
        primary.import("sound.db", &image(5, seed, "DELETE"));
    }
    until_level(&primary, &replica, "sound.db").await;
    assert_eq!(replica.pos("broken.db").txid.get(), 1);
    fs::remove_file(&log).unwrap();
    fs::rename(&hidden, &log).unwrap();
    until_level(&primary, &replica, "broken.db").await;
    assert!(primary.content("broken.db") == replica.content("broken.db"));
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_vanish_from_the_primarys_log_are_made_up_for_by_a_snapshot() {
    let (primary, replica) = (Node::primary(), Node::replica());
    primary.import("a.db", &image(5, 1, "DELETE"));
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    following.stop().await;
    for seed in 2..5 {
        // Too large to be kept in memory.
        primary.import("a.db", &image(1500, seed, "DELETE"));
    }
    let log = primary
        .store
        .data_dir()
        .database(&name("a.db"))
        .path()
        .join("ltx");
    for file in fs::read_dir(log).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    let following = replica.follow(&serving.url());
    until_level(&primary, &replica, "a.db").await;
    assert!(primary.content("a.db") == replica.content("a.db"));
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_is_made_again_also_within_a_snapshot() {
    let (primary, replica) = (Node::primary(), Node::replica());
    primary.import("large.db", &image(8000, 1, "DELETE"));
    let serving = primary.serve().await;
    let proxy = Proxy::start(serving.address).await;
    let following = replica.follow(&proxy.url());
    for cut in 1..4 {
        until("connected again", || proxy.connections() >= cut).await;
        proxy.cut();
    }
    following.until_in_sync().await;
    until_level(&primary, &replica, "large.db").await;
    proxy.cut();
    following
        .until("found out", |state| {
            matches!(state, FollowState::Connecting { .. })
        })
        .await;
    primary.import("large.db", &image(10, 2, "DELETE"));
    until_level(&primary, &replica, "large.db").await;
    assert!(primary.content("large.db") == replica.content("large.db"));
    let temporary = fs::read_dir(
        replica
            .store
            .data_dir()
            .database(&name("large.db"))
            .path()
            .join("ltx"),
    )
    .unwrap()
    .filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|e| e == "tmp")
    })
    .count();
    assert_eq!(temporary, 0, "files of broken transfers are left");
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_found_by_both_sides() {
    let (primary, replica) = (Node::primary(), Node::replica());
    primary.import("a.db", &image(5, 1, "DELETE"));
    let serving = primary.serve().await;
    let proxy = Proxy::start(serving.address).await;
    let following = replica.follow(&proxy.url());
    following.until_in_sync().await;
    proxy.fall_silent();
    following
        .until("silence is found", |state| {
            matches!(state, FollowState::Connecting { .. })
        })
        .await;
    until("the primary gave it up", || serving.replicas.count() == 0).await;
    until("the role says so", || {
        replica.store.role() == Role::Replica { primary: None }
    })
    .await;
    primary.import("a.db", &image(6, 2, "DELETE"));
    proxy.pass();
    until_level(&primary, &replica, "a.db").await;
    following.until_in_sync().await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_stops_says_so_and_is_found_again() {
    let (primary, replica) = (Node::primary(), Node::replica());
    primary.import("a.db", &image(5, 1, "DELETE"));
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    serving.stop().await;
    following
        .until("told", |state| {
            matches!(state, FollowState::Connecting { error: Some(error) } if error.contains("stops"))
        })
        .await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stops_in_the_middle_of_a_snapshot_starts_over() {
    let (primary, replica) = (Node::primary(), Node::replica());
    primary.import("large.db", &image(8000, 1, "DELETE"));
    let serving = primary.serve().await;
    let following = replica.follow(&serving.url());
    until("the transfer has begun", || {
        replica.store.all_databases().len() == 1
    })
    .await;
    following.stop().await;
    let replica = replica.restart(Role::Replica { primary: None });
    let following = replica.follow(&serving.url());
    following.until_in_sync().await;
    assert!(primary.content("large.db") == replica.content("large.db"));
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_primary_is_tried_slowly_with_the_reason() {
    let replica = Node::replica();
    let following = replica.follow("https://127.0.0.1:1");
    assert!(following.until_refused().await.contains("http://"));
    following.stop().await;
    let following = replica.follow("http://127.0.0.1:1");
    following
        .until("refused by the system", |state| {
            matches!(state, FollowState::Connecting { error: Some(error) } if error.contains("refused"))
        })
        .await;
    following.stop().await;
    // An HTTP server without this service.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, axum::Router::new()).await });
    let following = replica.follow(&url);
    let reason = following.until_refused().await;
    assert!(
        reason.contains("404") || reason.contains("not implemented"),
        "{reason}"
    );
    following.stop().await;
    server.abort();
    // Something that accepts and says nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let following = replica.follow(&format!("http://{}", listener.local_addr().unwrap()));
    following
        .until("silence is found", |state| {
            matches!(state, FollowState::Connecting { error: Some(error) } if error.contains("nothing heard") || error.contains("keep-alive") || error.contains("timed out"))
        })
        .await;
    following.stop().await;
}
