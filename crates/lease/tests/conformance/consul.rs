//! What only Consul does: it goes away, comes back, and refuses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use lease::{ConsulConfig, ConsulEnvironment, ConsulLease, Error, Holder, Leaser, Outcome};

use crate::agent::Agent;
use crate::backend::{Backend, ConsulBackend, LOCK_DELAY, record, renewed, soon, until};

/// A quarter of the TTL, and what a busy machine adds.
const DEADLINE: Duration = Duration::from_millis(2500 + 1500);

#[track_caller]
fn assert_unreachable<T: std::fmt::Debug>(answer: Result<T, Error>, since: Instant) {
    let Err(Error::Unreachable(text)) = &answer else {
        panic!("{answer:?}");
    };
    assert!(text.starts_with("consul at http://127.0.0.1:"), "{text}");
    assert!(since.elapsed() < DEADLINE, "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consul_that_is_away_is_told_within_the_deadline() {
    let Some(mut agent) = Agent::start_unless_absent().await else {
        return;
    };
    let backend = ConsulBackend::new(agent.address(), "litefs/primary");
    let (a, b) = (backend.node(), backend.node());
    let survey = soon(a.survey()).await;
    let mine = record(1, 1);
    let Outcome::Done(held) = soon(a.acquire(&survey, &mine)).await else {
        panic!("refused");
    };
    soon(b.session()).await;

    agent.stop();
    let since = Instant::now();
    let second = renewed(&mine, 1);
    let short = Duration::from_millis(100);
    let (renewal, seen, watch) =
        tokio::join!(a.renew(held, &second), b.survey(), b.watch(held, short));
    agent.go_on();
    assert_unreachable(renewal, since);
    assert_unreachable(seen, since);
    assert_unreachable(watch, since);
    // The renewal that was given up may be carried out all the same; the node looks.
    let mut seen = None;
    until("the agent answers again", DEADLINE, async || {
        seen = a.read().await.ok();
        seen.is_some()
    })
    .await;
    let version = seen.unwrap().version;
    assert_ne!(
        soon(a.renew(version, &renewed(&mine, 2))).await,
        Outcome::Refused
    );

    // A watch that waits when it is killed ends then.
    let held = soon(b.read()).await.version;
    soon(b.watch(held, short)).await;
    let since = Instant::now();
    let watch = b.watch(held, Duration::from_secs(60));
    let (watch, ()) = tokio::join!(watch, async { agent.kill() });
    assert_unreachable(watch, since);
    assert_unreachable(a.renew(held, &mine).await, Instant::now());
    assert_unreachable(a.session().await, Instant::now());
    assert_unreachable(a.name_cluster("LFSC1").await, Instant::now());

    // It comes back empty.
    agent.start_again().await;
    let since = Instant::now();
    let seen = soon(b.watch(held, Duration::from_secs(60))).await;
    assert!(since.elapsed() < DEADLINE, "{:?}", since.elapsed());
    assert_eq!(seen.holder, Holder::Vacant);
    assert_eq!(soon(a.renew(held, &mine)).await, Outcome::Refused);
    assert_eq!(a.session().await, Err(Error::SessionGone));
    soon(a.session()).await;
    let survey = soon(a.survey()).await;
    assert_eq!(survey.last_epoch, None);
    assert_ne!(
        soon(a.acquire(&survey, &record(1, 2))).await,
        Outcome::Refused
    );
}

/// A server that answers everything in the same way, and keeps the tokens that it was sent.
async fn mock(
    status: StatusCode,
    body: &'static str,
) -> (SocketAddr, Arc<Mutex<Vec<Option<String>>>>) {
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let kept = tokens.clone();
    let app = Router::new().fallback(move |request: Request| async move {
        let token = request.headers().get("X-Consul-Token");
        let token = token.map(|token| token.to_str().unwrap().to_owned());
        kept.lock().unwrap().push(token);
        (status, [("X-Consul-Index", "1")], body)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, tokens)
}

fn lease_at(url: String, environment: &ConsulEnvironment) -> ConsulLease {
    let config = ConsulConfig {
        url,
        key: "litefs/primary".to_owned(),
        ttl: Duration::from_secs(2),
        lock_delay: LOCK_DELAY,
        hostname: None,
    };
    ConsulLease::new(&config, environment).unwrap()
}

#[tokio::test]
async fn a_wrong_token_is_explained_and_not_shown() {
    let (address, tokens) = mock(StatusCode::FORBIDDEN, "Permission denied: no").await;
    let lease = lease_at(
        format!("http://:sEcReT@{address}/app"),
        &ConsulEnvironment::default(),
    );
    assert!(!format!("{lease:?}").contains("sEcReT"));
    let expected = format!(
        "consul at http://{address}: permission denied (403): check the ACL token of lease.consul.url: it needs write \
         on the key prefix \"app/litefs/primary\", and session:write: Permission denied: no"
    );
    assert_eq!(lease.survey().await, Err(Error::Answer(expected.clone())));
    assert_eq!(lease.session().await, Err(Error::Answer(expected)));
    assert_eq!(*tokens.lock().unwrap(), vec![Some("sEcReT".to_owned()); 2]);
}

#[tokio::test]
async fn a_transaction_that_is_not_allowed_is_not_taken_for_one_that_came_too_late() {
    let denied = r#"{"Errors":[{"OpIndex":1,"What":"Permission denied: token lacks key:write"}]}"#;
    let (address, _) = mock(StatusCode::CONFLICT, denied).await;
    let lease = lease_at(format!("http://{address}"), &ConsulEnvironment::default());
    let answer = lease.unpost(1).await;
    assert!(
        matches!(&answer, Err(Error::Answer(text)) if text.contains("check the ACL token")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn the_token_of_the_environment_is_second_to_that_of_the_url() {
    let (address, tokens) = mock(StatusCode::NOT_FOUND, "").await;
    let directory = tempfile::tempdir().unwrap();
    let of_file = directory.path().join("token");
    std::fs::write(&of_file, "of-file\n").unwrap();
    let environment = ConsulEnvironment {
        token: Some("of-environment".to_owned()),
        ..ConsulEnvironment::default()
    };
    let file = ConsulEnvironment {
        token_file: Some(of_file),
        ..ConsulEnvironment::default()
    };
    for (url, environment) in [
        (format!("http://:of-url@{address}"), &environment),
        (format!("http://{address}"), &environment),
        (format!("http://{address}"), &file),
        (format!("http://{address}"), &ConsulEnvironment::default()),
    ] {
        soon(lease_at(url, environment).survey()).await;
    }
    let expected = [
        Some("of-url"),
        Some("of-environment"),
        Some("of-file"),
        None,
    ];
    assert_eq!(
        *tokens.lock().unwrap(),
        expected.map(|token| token.map(str::to_owned))
    );
}

#[tokio::test]
async fn a_consul_without_a_leader_is_one_that_cannot_be_reached() {
    let (address, _) = mock(StatusCode::INTERNAL_SERVER_ERROR, "No cluster leader").await;
    let lease = lease_at(format!("http://{address}"), &ConsulEnvironment::default());
    let answer = lease.read().await;
    assert!(
        matches!(&answer, Err(Error::Unreachable(text)) if text.contains("No cluster leader")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn something_that_is_no_consul_is_told() {
    let (address, _) = mock(StatusCode::OK, "<html>").await;
    let lease = lease_at(format!("http://{address}"), &ConsulEnvironment::default());
    for answer in [lease.read().await.err(), lease.session().await.err()] {
        assert!(
            matches!(&answer, Some(Error::Answer(text)) if text.contains("not understood")),
            "{answer:?}"
        );
    }
}
