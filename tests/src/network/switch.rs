//! The thread that carries packets from host to host.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::HostId;
use super::link::Link;

/// More than a packet can be.
const PACKET: usize = 65_536;
/// So many packets are taken from one device before others have their turn.
const BURST: usize = 64;

type Links = HashMap<(HostId, HostId), Link>;

/// Carries packets until it is dropped.
#[derive(Debug)]
pub(super) struct Switch {
    links: Arc<Mutex<Links>>,
    over: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    pub(super) fn start(devices: Vec<File>, addresses: Vec<Ipv4Addr>, seed: u64) -> Switch {
        let links = Arc::new(Mutex::new(Links::new()));
        let over = Arc::new(AtomicBool::new(false));
        let wake = Arc::new(EventFd::new().expect("an event descriptor"));
        let carrier = Carrier {
            devices,
            addresses,
            links: links.clone(),
            random: StdRng::seed_from_u64(seed),
            late: BinaryHeap::new(),
            count: 0,
        };
        let (flag, event) = (over.clone(), wake.clone());
        let thread = std::thread::spawn(move || carrier.run(&flag, &event));
        Switch {
            links,
            over,
            wake,
            thread: Some(thread),
        }
    }

    pub(super) fn set(&self, from: HostId, to: HostId, link: Link) {
        self.change(from, to, |there| *there = link);
    }

    pub(super) fn change(&self, from: HostId, to: HostId, change: impl FnOnce(&mut Link)) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        change(links.entry((from, to)).or_default());
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A packet that is on its way. The one that is due first is the greatest in a heap of `Reverse`s.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Late {
    due: Instant,
    number: u64,
    from: HostId,
    to: HostId,
    packet: Vec<u8>,
}

struct Carrier {
    devices: Vec<File>,
    addresses: Vec<Ipv4Addr>,
    links: Arc<Mutex<Links>>,
    random: StdRng,
    late: BinaryHeap<Reverse<Late>>,
    count: u64,
}

impl Carrier {
    fn run(mut self, over: &AtomicBool, wake: &EventFd) {
        let mut buffer = vec![0; PACKET];
        while !over.load(Ordering::SeqCst) {
            self.wait(wake);
            for from in 0..self.devices.len() {
                for _ in 0..BURST {
                    // Nothing there is an error as well.
                    let Ok(length) = (&self.devices[from]).read(&mut buffer) else {
                        break;
                    };
                    self.take(from, &buffer[..length]);
                }
            }
            self.deliver_due();
        }
    }

    /// Until a device has a packet, one is due, or it is over.
    fn wait(&self, wake: &EventFd) {
        let timeout = self.late.peek().map_or(PollTimeout::NONE, |Reverse(next)| {
            let left = next.due.saturating_duration_since(Instant::now());
            let whole = u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
            PollTimeout::from(whole)
        });
        let devices = self.devices.iter().map(AsFd::as_fd);
        let mut waited: Vec<PollFd<'_>> = devices
            .chain([wake.as_fd()])
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
            .collect();
        // Interrupted is as good as ready: everything is looked at anyway.
        let _ = poll(&mut waited, timeout);
    }

    fn take(&mut self, from: HostId, packet: &[u8]) {
        let Some(to) = destination(packet)
            .and_then(|address| self.addresses.iter().position(|known| *known == address))
        else {
            return;
        };
        let link = self.link(from, to);
        if link.cut || (link.loss > 0.0 && self.random.random::<f64>() < link.loss) {
            return;
        }
        if link.latency == Duration::ZERO {
            return self.deliver(to, packet);
        }
        self.count += 1;
        self.late.push(Reverse(Late {
            due: Instant::now() + link.latency,
            number: self.count,
            from,
            to,
            packet: packet.to_vec(),
        }));
    }

    fn deliver_due(&mut self) {
        let now = Instant::now();
        while self
            .late
            .peek()
            .is_some_and(|Reverse(next)| next.due <= now)
        {
            let Some(Reverse(next)) = self.late.pop() else {
                break;
            };
            // What was on its way when the link was cut is lost, too.
            if !self.link(next.from, next.to).cut {
                self.deliver(next.to, &next.packet);
            }
        }
    }

    fn deliver(&self, to: HostId, packet: &[u8]) {
        // A full queue loses packets, like any network.
        let _ = (&self.devices[to]).write(packet);
    }

    fn link(&self, from: HostId, to: HostId) -> Link {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(&(from, to)).copied().unwrap_or_default()
    }
}

/// Where an IPv4 packet goes; nothing for other packets.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let version = packet.first()? >> 4;
    let bytes: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (version == 4).then(|| Ipv4Addr::from(bytes))
}
