//! The network of cluster tests: what it cuts is cut, what it delays is late, what it loses is lost.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::network::{Host, Link, Network};
use harness::{network_available, until};

const PORT: u16 = 7000;
const LIMIT: Duration = Duration::from_secs(20);
/// Long enough for a packet that is not cut, on a busy machine.
const SILENCE: Duration = Duration::from_millis(300);

fn network(hosts: usize) -> Option<Network> {
    network_available().then(|| Network::new(hosts, 1))
}

fn socket(host: &Host) -> UdpSocket {
    let socket = host.enter(|| UdpSocket::bind((host.address(), PORT)));
    let socket = socket.expect("nobody else has the port");
    socket
        .set_read_timeout(Some(SILENCE))
        .expect("a timeout can be set");
    socket
}

fn send(from: &UdpSocket, to: &UdpSocket, text: &str) {
    let address = to.local_addr().expect("it is bound");
    from.send_to(text.as_bytes(), address).expect("it is sent");
}

fn receive(socket: &UdpSocket) -> Option<String> {
    let mut buffer = [0; 2000];
    match socket.recv(&mut buffer) {
        Ok(length) => Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
        Err(error) => {
            assert!(
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "{error}"
            );
            None
        }
    }
}

/// Whether a packet arrives; the next one is another.
fn arrives(from: &UdpSocket, to: &UdpSocket) -> bool {
    send(from, to, "packet");
    receive(to).is_some()
}

#[test]
fn links_are_cut_one_by_one_and_in_one_direction() {
    let Some(network) = network(3) else { return };
    let [a, b, c] = [0, 1, 2].map(|number| socket(network.host(number)));
    assert!(arrives(&a, &b) && arrives(&b, &a) && arrives(&a, &c) && arrives(&c, &b));
    network.cut(0, 1);
    assert!(!arrives(&a, &b) && !arrives(&b, &a));
    assert!(arrives(&a, &c) && arrives(&c, &b));
    network.heal(0, 1);
    assert!(arrives(&a, &b) && arrives(&b, &a));
    network.cut_one_way(0, 1);
    assert!(!arrives(&a, &b) && arrives(&b, &a));
    network.heal_all();
    network.isolate(2);
    assert!(arrives(&a, &b) && !arrives(&a, &c) && !arrives(&c, &b));
}

#[test]
fn packets_are_late_and_in_order() {
    let Some(network) = network(2) else { return };
    let [a, b] = [0, 1].map(|number| socket(network.host(number)));
    assert!(arrives(&a, &b));
    let latency = Duration::from_millis(60);
    network.delay_all(latency);
    let start = Instant::now();
    for number in 0..10 {
        send(&a, &b, &number.to_string());
    }
    let received: Vec<_> = (0..10).filter_map(|_| receive(&b)).collect();
    assert_eq!(received.concat(), "0123456789");
    assert!(start.elapsed() >= latency, "{:?}", start.elapsed());
    // What is on its way when the link is cut does not arrive.
    send(&a, &b, "lost");
    b.set_read_timeout(Some(latency / 3))
        .expect("it can be set");
    assert_eq!(receive(&b), None);
    network.cut(0, 1);
    b.set_read_timeout(Some(SILENCE)).expect("it can be set");
    assert_eq!(receive(&b), None);
}

#[test]
fn a_share_of_the_packets_is_lost() {
    let Some(network) = network(2) else { return };
    let [a, b] = [0, 1].map(|number| socket(network.host(number)));
    network.set(
        0,
        1,
        Link {
            loss: 0.3,
            ..Link::default()
        },
    );
    let arrives_soon = |timeout| {
        b.set_read_timeout(Some(timeout)).expect("it can be set");
        receive(&b).is_some()
    };
    let mut arrived = 0;
    for _ in 0..200 {
        send(&a, &b, "packet");
        // Not all at once: no queue shall be full.
        arrived += u32::from(arrives_soon(Duration::from_millis(5)));
    }
    while arrives_soon(SILENCE) {
        arrived += 1;
    }
    assert!((100..180).contains(&arrived), "{arrived} of 200");
}

/// A connection of which only one direction works, and one through much loss.
#[test]
fn connections_feel_it() {
    let Some(network) = network(2) else { return };
    let (a, b) = (network.host(0), network.host(1));
    let listener = b.enter(|| TcpListener::bind((b.address(), PORT))).unwrap();
    let address = SocketAddr::from((b.address(), PORT));
    let mut client = a.enter(|| TcpStream::connect(address)).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(SILENCE)).unwrap();
    }
    let mut byte = [0];
    client.write_all(b"1").unwrap();
    server.read_exact(&mut byte).unwrap();

    network.cut_one_way(0, 1);
    client.write_all(b"2").unwrap();
    assert!(server.read(&mut byte).is_err(), "silence, and no end");
    network.heal(0, 1);
    server.set_read_timeout(Some(LIMIT)).unwrap();
    server.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"2", "it was sent again");

    network.set_all(Link {
        loss: 0.05,
        latency: Duration::from_millis(1),
        ..Link::default()
    });
    let sent = vec![7; 1_000_000];
    let expected = sent.len();
    let sender = std::thread::spawn(move || client.write_all(&sent));
    let mut received = vec![0; expected];
    server.read_exact(&mut received).unwrap();
    sender.join().unwrap().unwrap();
}

/// Processes that are started in a host are there, and see nothing of this machine's network.
#[test]
fn processes_live_in_a_host() {
    let Some(network) = network(2) else { return };
    let host = network.host(1);
    let run = |program: &mut Command| {
        let output = host.enter(|| program.output()).expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown = run(Command::new("ip").args(["-o", "-4", "addr"]));
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(
        shown.contains("10.77.0.2/24") && shown.contains("127.0.0.1/8"),
        "{shown}"
    );
    // The loopback is a host's own.
    let listener = host
        .enter(|| TcpListener::bind(("127.0.0.1", PORT)))
        .unwrap();
    let address = listener.local_addr().unwrap();
    assert!(host.enter(|| TcpStream::connect(address)).is_ok());
    assert!(
        network
            .host(0)
            .enter(|| TcpStream::connect(address))
            .is_err()
    );
}

#[test]
fn nothing_is_left_behind_also_when_a_test_panics() {
    if !network_available() {
        return;
    }
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let devices = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().contains("net/tun"))
            .count()
    };
    // Other tests of this program have networks, too: their number changes, ours is gone with its thread.
    let (inside, outside) = (devices(), threads());
    let panicked = std::thread::spawn(|| {
        let _network = Network::new(3, 1);
        panic!("a test that fails");
    });
    assert!(panicked.join().is_err());
    until(LIMIT, "all networks go", || {
        devices() <= inside && threads() <= outside
    });
}
