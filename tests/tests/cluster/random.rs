//! Random disturbances, from a seed.

use std::time::{Duration, Instant};

use harness::network::Link;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::trial::{Begin, DATABASE, Trial};

/// `LITEFS_CLUSTER_…`, or what stands in for it.
fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(format!("LITEFS_CLUSTER_{name}")).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Promote,
    KillMachine,
    KillWorker,
    StopMachine,
    Start,
    PauseWorker,
    CutFromConsul,
    CutFromReplicas,
    Isolate,
    CutOneWay,
    Slow,
    Heal,
    PauseConsul,
    RestartConsul,
    EmptyConsul,
}

const ACTIONS: [Action; 19] = [
    Action::Promote,
    Action::Promote,
    Action::KillMachine,
    Action::KillWorker,
    Action::StopMachine,
    Action::Start,
    Action::Start,
    Action::Start,
    Action::PauseWorker,
    Action::CutFromConsul,
    Action::CutFromReplicas,
    Action::Isolate,
    Action::CutOneWay,
    Action::Slow,
    Action::Heal,
    Action::Heal,
    Action::PauseConsul,
    Action::RestartConsul,
    Action::EmptyConsul,
];

struct Chaos {
    trial: Trial,
    random: StdRng,
    paused: bool,
}

impl Chaos {
    fn act(&mut self, action: Action) {
        let hosts = self.trial.fleet.nodes.len();
        let node = self.random.random_range(0..hosts);
        let consul = self.trial.fleet.consul_host();
        let running = self.trial.fleet.nodes[node].is_running();
        match action {
            Action::Promote if running => {
                self.trial.fleet.nodes[node].command_line(&["promote"]);
            }
            Action::KillMachine if running => self.trial.kill_machine(node),
            Action::KillWorker if self.trial.fleet.nodes[node].worker().is_some() => {
                self.trial.fleet.nodes[node].kill_worker();
            }
            Action::StopMachine if running => self.trial.stop_machine(node),
            Action::Start => self.start_all(),
            Action::PauseWorker if self.trial.fleet.nodes[node].worker().is_some() => {
                self.trial.fleet.nodes[node].pause();
            }
            Action::CutFromConsul => self.trial.fleet.network().cut(node, consul),
            Action::CutFromReplicas => {
                for other in self.trial.others(node) {
                    self.trial.fleet.network().cut(node, other);
                }
            }
            Action::Isolate => self.trial.fleet.network().isolate(node),
            Action::CutOneWay => {
                let to = self.random.random_range(0..=hosts);
                let (from, to) = if self.random.random() {
                    (node, to)
                } else {
                    (to, node)
                };
                self.trial.fleet.network().cut_one_way(from, to);
            }
            Action::Slow => self.trial.fleet.network().set_all(Link {
                latency: Duration::from_millis(self.random.random_range(1..60)),
                loss: 0.01,
                ..Link::default()
            }),
            Action::Heal => self.heal(),
            Action::PauseConsul if !self.paused => {
                self.consul().pause();
                self.paused = true;
            }
            Action::RestartConsul if !self.paused => self.restart_consul(false),
            Action::EmptyConsul if !self.paused => self.restart_consul(true),
            _ => {}
        }
    }

    fn consul(&mut self) -> &mut harness::Consul {
        self.trial.fleet.consul.as_mut().expect("it has one")
    }

    fn restart_consul(&mut self, wipe: bool) {
        self.consul().kill();
        if wipe {
            self.consul().wipe();
        }
        self.consul().restart();
    }

    fn start_all(&mut self) {
        for node in 0..self.trial.fleet.nodes.len() {
            if !self.trial.fleet.nodes[node].is_running() {
                self.trial.start_machine(node);
            }
        }
    }

    fn heal(&mut self) {
        self.trial.fleet.network().heal_all();
        if std::mem::take(&mut self.paused) {
            self.consul().resume();
        }
        for node in &self.trial.fleet.nodes {
            if node.worker().is_some() {
                node.resume();
            }
        }
    }
}

/// The actions of a seed are always the same; when they meet what, is not.
#[test]
fn random_disturbances() {
    let (seed, seconds) = (setting("SEED", 1), setting("SECONDS", 20));
    let begin = Begin {
        seed,
        ..Begin::default()
    };
    let Some(trial) = Trial::lasting(begin, Duration::from_secs(seconds)) else {
        return;
    };
    eprintln!("LITEFS_CLUSTER_SEED={seed} LITEFS_CLUSTER_SECONDS={seconds}");
    let mut chaos = Chaos {
        trial,
        random: StdRng::seed_from_u64(seed),
        paused: false,
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        let action = *ACTIONS.choose(&mut chaos.random).expect("there are some");
        eprintln!("{:?}: {action:?}", start.elapsed());
        chaos.act(action);
        let pause = chaos.random.random_range(100..2500);
        chaos.trial.go_on_for(Duration::from_millis(pause));
    }
    chaos.heal();
    chaos.start_all();
    chaos.trial.fleet.await_settled(DATABASE);
    chaos.trial.finish(false);
}
