//! A node without a mount: a store, and its API on a port of the loopback interface.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use http_api::{Acting, ApiConfig, Control, LeaseSummary, NotDone, ReplicaSummary};
use reqwest::{Client, Response};
use store::testing::DirectMount;
use store::{Epoch, PrimaryInfo, Role, Store, StoreConfig};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How long anything in these tests may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running node. It ends when it is dropped.
pub(crate) struct Node {
    pub(crate) store: Arc<Store>,
    pub(crate) address: String,
    client: Client,
    data: TempDir,
    server: JoinHandle<()>,
}

/// Plain HTTP: nobody is trusted. Without a TLS configuration a client panics.
fn client() -> Client {
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = Client::builder().tls_backend_preconfigured(tls).no_proxy();
    client.build().unwrap()
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status and body, to be compared.
    pub(crate) fn said(&self) -> (u16, &str) {
        (self.status.as_u16(), self.text())
    }
}

pub(crate) fn primary() -> Role {
    Role::Primary {
        epoch: Epoch::new(1),
    }
}

/// A replica that is connected to `db1`.
pub(crate) fn replica() -> Role {
    let primary = PrimaryInfo {
        hostname: "db1".to_owned(),
        advertise_url: "http://db1:20202".to_owned(),
    };
    Role::Replica {
        primary: Some(primary),
    }
}

impl Node {
    pub(crate) async fn start(role: Role) -> Node {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(StoreConfig::new(data.path()), role).unwrap();
        let mount = DirectMount::new(store.data_dir().clone());
        store.attach_mount(Arc::new(mount));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = http_api::router(config(Arc::clone(&store)));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Node {
            store,
            address,
            client: client(),
            data,
            server,
        }
    }

    /// The backing file of a database.
    pub(crate) fn database_file(&self, name: &str) -> PathBuf {
        self.data.path().join("dbs").join(name).join("database")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.client.get(self.url(path)).send().await.unwrap())
            .await
            .unwrap()
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        answer(self.client.post(self.url(path)).send().await.unwrap())
            .await
            .unwrap()
    }

    pub(crate) async fn export(&self, name: &str) -> Answer {
        answer(self.begin_export(name).await).await.unwrap()
    }

    /// The head of an export's answer; the body is still to be read.
    pub(crate) async fn begin_export(&self, name: &str) -> Response {
        self.client
            .get(self.url("/export"))
            .query(&[("name", name)])
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn import(&self, name: &str, content: Vec<u8>) -> Answer {
        let request = self
            .client
            .post(self.url("/import"))
            .query(&[("name", name)])
            .body(content);
        answer(request.send().await.unwrap()).await.unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
        self.store.close();
    }
}

/// Reads the whole answer.
pub(crate) async fn answer(response: Response) -> Result<Answer, reqwest::Error> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await?.to_vec();
    Ok(Answer {
        status,
        headers,
        body,
    })
}

/// Does what it is told if it is sensible: node 2 is there.
struct Told;

impl Control for Told {
    fn promote(&self, force: bool) -> Acting<'_> {
        Box::pin(async move {
            match force {
                true => Ok(()),
                false => Err(NotDone::NotEligible(
                    "not eligible to become primary".into(),
                )),
            }
        })
    }

    fn handoff(&self, to: Option<u64>) -> Acting<'_> {
        Box::pin(async move {
            match to {
                None | Some(2) => Ok(()),
                Some(other) => Err(NotDone::Failed(format!("cannot handoff: {other:x}"))),
            }
        })
    }
}

fn config(store: Arc<Store>) -> ApiConfig {
    let replica = ReplicaSummary {
        node_id: 0xAB,
        hostname: "db2".to_owned(),
        address: "10.0.0.2:4711".to_owned(),
    };
    ApiConfig {
        store,
        mount_dir: PathBuf::from("/litefs"),
        hostname: "here".to_owned(),
        candidate: true,
        version: "1.2.3".to_owned(),
        replicas: Arc::new(move || vec![replica.clone()]),
        stream_state: Arc::new(|| "connected to db1".to_owned()),
        fuse_requests: Arc::new(Vec::new),
        lease: Arc::new(|| LeaseSummary {
            state: "follower",
            epoch: Some(7),
            detail: None,
            refusal: Some("behind".to_owned()),
            trouble: None,
        }),
        control: Arc::new(Told),
    }
}

/// A database of at least `size` bytes with one row `mark`, as SQLite writes it in a rollback journal mode.
pub(crate) fn sqlite_file(mark: &str, size: u32) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF; CREATE TABLE t (mark TEXT, filler BLOB)")
        .unwrap();
    db.execute("INSERT INTO t VALUES (?1, randomblob(?2))", (mark, size))
        .unwrap();
    drop(db);
    std::fs::read(path).unwrap()
}

/// Opens `content` with SQLite, checks all of it and reads the mark.
pub(crate) fn mark_of(content: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    std::fs::write(&path, content).unwrap();
    let db = rusqlite::Connection::open(path).unwrap();
    let check: String = db
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    db.query_row("SELECT mark FROM t", [], |row| row.get(0))
        .unwrap()
}
