//! The Consul of cluster tests.

use std::net::TcpStream;
use std::time::Duration;

use harness::network::Network;
use harness::{Consul, Stage, http_client, network_available, processes_tagged};

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_dev_agent_forgets_and_a_durable_one_does_not() {
    for keeps in [false, true] {
        let stage = Stage::new(LIMIT);
        let Some(mut consul) = Consul::start(&stage, None, keeps) else {
            return;
        };
        assert_eq!(consul.get("a/key"), None);
        consul.put("a/key", "{\"value\": 1}");
        consul.put("a/other", "");
        let first = consul.get("a/key").unwrap();
        assert_eq!(
            (first.value.as_str(), &first.session),
            ("{\"value\": 1}", &None)
        );
        let all = consul.get_all("a/");
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a/key", "a/other"]);
        consul.delete("a/other");
        assert_eq!(consul.get("a/other"), None);
        assert!(consul.sessions().is_empty());

        let url = consul.url();
        consul.stop();
        consul.restart();
        assert_eq!(consul.url(), url);
        let after = consul.get("a/key").map(|value| value.value);
        assert_eq!(after, keeps.then(|| first.value.clone()));
        consul.kill();
        let tag = stage.tag().to_owned();
        consul.restart();
        drop(consul);
        assert_eq!(processes_tagged(&tag), []);
    }
}

#[test]
fn one_that_is_paused_keeps_connections_and_does_not_answer() {
    let stage = Stage::new(LIMIT);
    let Some(consul) = Consul::start_dev(&stage) else {
        return;
    };
    consul.pause();
    let address = consul.url().replace("http://", "");
    assert!(TcpStream::connect(&address).is_ok(), "the kernel answers");
    let client = http_client(Duration::from_millis(300));
    let url = format!("{}/v1/status/leader", consul.url());
    assert!(client.get(&url).send().is_err());
    consul.resume();
    assert!(client.get(&url).timeout(LIMIT).send().is_ok());
}

#[test]
fn one_in_a_host_is_reached_by_others_until_it_is_cut() {
    if !network_available() {
        return;
    }
    let stage = Stage::new(LIMIT);
    let network = Network::new(2, 1);
    let Some(consul) = Consul::start(&stage, Some(network.host(1)), false) else {
        return;
    };
    let url = format!("{}/v1/status/leader", consul.url());
    let reached = || {
        network.host(0).enter(|| {
            let client = http_client(Duration::from_millis(1000));
            client.get(&url).send().is_ok()
        })
    };
    assert!(reached());
    network.cut(0, 1);
    assert!(!reached());
    // The test itself still reaches it.
    consul.put("key", "value");
    network.heal(0, 1);
    assert!(reached());
}
