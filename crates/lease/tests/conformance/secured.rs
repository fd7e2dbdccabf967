//! A Consul that asks who one is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lease::{ConsulConfig, ConsulEnvironment, ConsulLease, Error, Leaser};

use crate::agent::{Agent, find, http_with_token};
use crate::backend::{LOCK_DELAY, TTL, positions, post, record, soon, until};
use crate::cases::{take, version};

fn lease_at(url: &str, environment: &ConsulEnvironment) -> Arc<dyn Leaser> {
    let config = ConsulConfig {
        url: url.to_owned(),
        key: "litefs/primary".to_owned(),
        ttl: TTL,
        lock_delay: LOCK_DELAY,
        hostname: None,
    };
    Arc::new(ConsulLease::new(&config, environment).unwrap())
}

const MANAGER: &str = "11111111-1111-1111-1111-111111111111";
const ALLOWED: &str = "22222222-2222-2222-2222-222222222222";

/// The rules of docs/operations.md.
const RULES: &str = r#"
    key_prefix "app-1/litefs/primary" { policy = "write" }
    node "app-1/litefs" { policy = "write" }
    session "app-1/litefs" { policy = "write" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rules_are_enough_and_nothing_is_not() {
    let acl = format!(
        r#"acl {{ enabled = true, default_policy = "deny", tokens {{ initial_management = "{MANAGER}" }} }}"#
    );
    let Some(agent) = Agent::start_with(&acl).await else {
        return;
    };
    let address = agent.address();
    let manage = async |target: &str, body: serde_json::Value| {
        let body = body.to_string();
        let mut made = false;
        until("consul has its tokens", TTL, async || {
            let answer = http_with_token(address, "PUT", target, &body, MANAGER).await;
            made = answer.unwrap().starts_with("HTTP/1.1 200");
            made
        })
        .await;
    };
    let policy = serde_json::json!({ "Name": "litefs", "Rules": RULES });
    manage("/v1/acl/policy", policy).await;
    let token = serde_json::json!({ "SecretID": ALLOWED, "Policies": [{ "Name": "litefs" }] });
    manage("/v1/acl/token", token).await;

    let none = ConsulEnvironment::default();
    let node = lease_at(&format!("http://:{ALLOWED}@{address}/app-1"), &none);
    let mine = record(1, 1);
    let held = take(&node, &mine).await;
    soon(node.post(&post(1, 2000))).await;
    version(soon(node.publish(&positions("x", 1))).await);
    soon(node.name_cluster("LFSC1")).await;
    version(soon(node.renew(held, &record(1, 1))).await);
    assert_eq!(soon(node.survey()).await.posts.len(), 1);
    version(soon(node.release(&mine)).await);
    soon(node.close()).await;

    for url in [
        format!("http://{address}/app-1"),
        format!("http://:{ALLOWED}@{address}/app-2"),
    ] {
        let node = lease_at(&url, &none);
        let refused = [
            node.session().await.err(),
            node.unpost(1).await.err(),
            node.name_cluster("LFSC1").await.err(),
        ];
        for error in refused {
            let Some(Error::Answer(text)) = error else {
                panic!("{url}: {error:?}");
            };
            assert!(text.contains("check the ACL token"), "{text}");
            assert!(!text.contains(ALLOWED), "{text}");
        }
    }
}

/// Certificates made by `consul tls`, in a directory that goes with it.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn make() -> Option<Certificates> {
        let program = find()?;
        let directory = tempfile::tempdir().unwrap();
        for arguments in [
            &["ca", "create"][..],
            &[
                "cert",
                "create",
                "-server",
                "-additional-dnsname",
                "consul.example",
            ],
            &["cert", "create", "-client"],
        ] {
            let made = Command::new(&program)
                .arg("tls")
                .args(arguments)
                .current_dir(directory.path())
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
        }
        Some(Certificates(directory))
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.0.path()).join(name)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_with_whom_the_ca_vouches_for() {
    // Without the program, starting it says so.
    let made = Certificates::make();
    let configuration = made.as_ref().map_or(String::new(), |made| {
        format!(
            "tls {{ defaults {{ ca_file = {:?}, cert_file = {:?}, key_file = {:?}, verify_incoming = true }} }}",
            made.file("consul-agent-ca.pem"),
            made.file("dc1-server-consul-0.pem"),
            made.file("dc1-server-consul-0-key.pem"),
        )
    });
    let (Some(agent), Some(made)) = (Agent::start_with(&configuration).await, made) else {
        return;
    };
    let known = ConsulEnvironment {
        ca_file: Some(made.file("consul-agent-ca.pem")),
        client_cert: Some(made.file("dc1-client-consul-0.pem")),
        client_key: Some(made.file("dc1-client-consul-0-key.pem")),
        ..ConsulEnvironment::default()
    };
    let by_name = ConsulEnvironment {
        server_name: Some("consul.example".to_owned()),
        ..known.clone()
    };
    let url = format!("https://127.0.0.1:{}", agent.tls_port());
    for environment in [&known, &by_name] {
        soon(lease_at(&url, environment).survey()).await;
    }

    let anonymous = ConsulEnvironment {
        client_cert: None,
        client_key: None,
        ..known.clone()
    };
    let other_name = ConsulEnvironment {
        server_name: Some("other.example".to_owned()),
        ..known.clone()
    };
    for (environment, reason) in [
        (anonymous, "ertificate"),
        (other_name, "not valid for name"),
    ] {
        let error = lease_at(&url, &environment).survey().await.unwrap_err();
        assert!(
            matches!(&error, Error::Unreachable(text) if text.contains(reason)),
            "{error:?}"
        );
    }
    let half = ConsulEnvironment {
        client_key: None,
        ..known
    };
    let config = ConsulConfig {
        url,
        key: "k".to_owned(),
        ttl: TTL,
        lock_delay: LOCK_DELAY,
        hostname: None,
    };
    let error = ConsulLease::new(&config, &half).unwrap_err();
    assert!(error.to_string().contains("CONSUL_CLIENT_KEY"), "{error}");
}
