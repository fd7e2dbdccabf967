//! What a lease store must do, run against each of them.

mod agent;
mod backend;
mod cases;
mod consul;
mod memory;
mod secured;
mod static_lease;

use agent::Agent;
use backend::{Backend, ConsulBackend, MemoryBackend};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lease_in_memory_conforms() {
    for (name, case) in cases::all() {
        eprintln!("memory: {name}");
        case(Box::new(MemoryBackend::new())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lease_in_consul_conforms() {
    let Some(agent) = Agent::start_unless_absent().await else {
        return;
    };
    for (number, (name, case)) in cases::all().into_iter().enumerate() {
        eprintln!("consul: {name}");
        let backend = ConsulBackend::new(agent.address(), &format!("case-{number}/primary"));
        case(Box::new(backend)).await;
    }
}

/// Everything else is below a prefix, as with the Consul that several applications share.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lease_in_consul_below_a_prefix_conforms() {
    let Some(agent) = Agent::start_unless_absent().await else {
        return;
    };
    let url = format!("http://{}/app-1", agent.address());
    let backend = ConsulBackend::with_url(agent.address(), &url, "litefs/primary");
    cases::record::acquire_vacant(Box::new(backend)).await;
    let backend = ConsulBackend::with_url(agent.address(), &url, "litefs/other");
    let other: Box<dyn Backend> = Box::new(backend);
    cases::posts::posts_vanish_with_the_session(other).await;
}
