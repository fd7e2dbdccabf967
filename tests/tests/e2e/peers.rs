//! Peers that speak nonsense: nobody falls over, nothing is lost, and the real peers are served all the while.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use harness::client::Workload;
use harness::ledger::JournalMode;
use harness::{Cluster, Listener, Node, Stage, assert_agreement, until};

const LIMIT: Duration = Duration::from_secs(120);
const REACTION: Duration = Duration::from_secs(30);
/// What a node may have more in memory after a thousand promises of four gigabytes.
const GROWTH_KB: u64 = 64 * 1024;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field without compression.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// A message of gRPC, whatever length it pretends to have.
fn message(length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0], &length.to_be_bytes()[..], bytes].concat()
}

/// A call of the stream with `body` as what the replica says.
fn call(body: &[u8]) -> Vec<u8> {
    let headers = [
        vec![0x83, 0x86],
        field(":path", "/litefs.v1.Replication/Replicate"),
        field(":authority", "localhost"),
        field("content-type", "application/grpc"),
        field("te", "trailers"),
    ]
    .concat();
    [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &headers),
        frame(DATA, 0, 1, body),
    ]
    .concat()
}

/// The answer of a server of the stream, with `body` as what the primary says.
fn answer(body: &[u8]) -> Vec<u8> {
    let headers = [vec![0x88], field("content-type", "application/grpc")].concat();
    [
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &headers),
        frame(DATA, 0, 1, body),
    ]
    .concat()
}

/// Bytes without a meaning, always the same ones.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// A first message (Hello, field 1) that is well-formed as a message and wrong in what it says.
fn strange_hello() -> Vec<u8> {
    // protocol_min 4000, protocol_max 4001, filter "../../etc".
    let inner = [
        &[0x08, 0xa0, 0x1f, 0x10, 0xa1, 0x1f, 0x62, 9][..],
        b"../../etc",
    ]
    .concat();
    let outer = [
        &[0x0a, u8::try_from(inner.len()).expect("short")][..],
        &inner,
    ]
    .concat();
    message(u32::try_from(outer.len()).expect("short"), &outer)
}

fn nonsense() -> Vec<Vec<u8>> {
    vec![
        noise(5000),
        b"\r\n\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        [b"GET /".to_vec(), vec![b'a'; 300_000], b" HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()].concat(),
        b"POST /import?name=x HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\nx".to_vec(),
        b"POST /import?name=x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n".to_vec(),
        [PREFACE.to_vec(), noise(3000)].concat(),
        call(&message(100, &noise(100))),
        call(&message(u32::MAX, &noise(10_000))),
        call(&strange_hello()),
        call(&noise(16_000)),
    ]
}

/// Resident memory of a process.
fn resident_kb(node: &Node) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("the node is running");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a process has memory");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

#[test]
fn a_node_survives_clients_that_speak_nonsense() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag().to_owned();
    let workload = Workload::new(JournalMode::Wal, 4096, 151).transactions(100);
    workload
        .tables_only()
        .run(&tag, &cluster.primary.database("app"));
    let before = [
        resident_kb(&cluster.primary),
        resident_kb(cluster.replica()),
    ];
    let running = workload
        .more(152)
        .start(&tag, &cluster.primary.database("app"));
    let mut open = Vec::new();
    for port in [
        cluster.primary.settings().port,
        cluster.replica().settings().port,
    ] {
        for bytes in nonsense().into_iter().cycle().take(100) {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the node listens");
            // It may hang up in the middle of it.
            let _ = stream.write_all(&bytes);
            open.push(stream);
        }
    }
    running.succeed();
    for (node, before) in [&cluster.primary, cluster.replica()]
        .into_iter()
        .zip(before)
    {
        let grown = resident_kb(node).saturating_sub(before);
        assert!(grown < GROWTH_KB, "it has {grown} kB more in memory");
        assert!(!node.log().contains("panicked"), "{}", node.log());
        assert_eq!(node.api().status("/health"), Some(200));
        let names: Vec<_> = node
            .api()
            .info()
            .expect("it answers")
            .databases
            .into_iter()
            .map(|db| db.name)
            .collect();
        assert_eq!(names, ["app"]);
    }
    // Uploads that stand still take the places of others for as long as the server has patience with them.
    drop(open);
    assert_agreement(&cluster, "app");
    cluster.stop();
}

#[test]
fn a_replica_survives_a_primary_that_speaks_nonsense() {
    let Some(stage) = Stage::with_mounts(LIMIT) else {
        return;
    };
    let mut primary = Node::primary(&stage, "primary");
    let mut replica = Node::replica(&stage, "replica1", &primary);
    let impostor = Listener::on(primary.settings().port);
    replica.start();
    let answers = [
        noise(5000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
        [frame(SETTINGS, 0, 0, &[]), noise(3000)].concat(),
        answer(&message(100, &noise(100))),
        answer(&message(u32::MAX, &noise(10_000))),
        Vec::new(),
    ];
    for bytes in answers {
        let (mut stream, _) = impostor
            .socket()
            .accept()
            .expect("the replica comes back each time");
        stream
            .set_read_timeout(Some(REACTION))
            .expect("a timeout is set");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        replica.assert_running();
    }
    assert!(!replica.log().contains("panicked"), "{}", replica.log());
    drop(impostor);

    primary.start();
    let workload = Workload::new(JournalMode::Delete, 4096, 153).transactions(20);
    workload.run(stage.tag(), &primary.database("app"));
    let mut cluster = Cluster {
        primary,
        replicas: vec![replica],
        stage,
    };
    until(REACTION, "the replica finds the real primary", || {
        cluster.replica().pos("app").is_some()
            && cluster.replica().pos("app") == cluster.primary.pos("app")
    });
    assert_agreement(&cluster, "app");
    cluster.stop();
}

/// Two nodes that both believe to be the primary do not mix, nor does a node talk itself into following itself.
#[test]
fn a_replica_of_itself_only_waits() {
    let Some(stage) = Stage::with_mounts(LIMIT) else {
        return;
    };
    let primary = Node::primary(&stage, "primary");
    let mut replica = Node::replica(&stage, "replica1", &primary);
    replica.settings_mut().advertised_port = replica.settings().port;
    replica.start();
    assert_eq!(
        replica.api().info().map(|info| info.is_primary),
        Some(false)
    );
    until(REACTION, "it says that it cannot follow itself", || {
        !replica.log().is_empty()
    });
    assert!(
        fs::write(replica.database("new"), "x").is_err(),
        "a replica takes no writes"
    );
    replica.stop();
}
