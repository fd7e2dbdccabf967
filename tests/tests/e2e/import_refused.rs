//! What is no database is not imported, and then nothing has changed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use harness::client::Workload;
use harness::ledger::JournalMode;
use harness::{Cluster, Pos, assert_agreement, litefs};

const LIMIT: Duration = Duration::from_secs(90);

/// A pair with a database, and a good source that can be spoilt.
struct Scene {
    cluster: Cluster,
    source: Vec<u8>,
    before: Pos,
}

impl Scene {
    fn new() -> Option<Scene> {
        let cluster = Cluster::pair(LIMIT)?;
        Workload::new(JournalMode::Delete, 4096, 101)
            .transactions(20)
            .run(cluster.stage.tag(), &cluster.primary.database("app"));
        let before = assert_agreement(&cluster, "app");
        let source = cluster.primary.api().export("app").expect("export");
        Some(Scene {
            cluster,
            source,
            before,
        })
    }

    /// Through the command line, over the database and under a new name: exit status 1 and a sentence with `words`.
    #[track_caller]
    fn refused(&self, what: &str, bytes: &[u8], words: &[&str]) {
        let path = self.file(bytes);
        for name in ["app", "new"] {
            let url = self.cluster.primary.api().url().to_owned();
            let ended = litefs(&[
                "import",
                "-url",
                &url,
                "-name",
                name,
                path.to_str().expect("our paths are text"),
            ]);
            assert_eq!(ended.status.code(), Some(1), "{what}: {}", ended.output);
            let said = words
                .iter()
                .all(|word| ended.output.to_lowercase().contains(word));
            assert!(said, "{what}: expected {words:?} in {:?}", ended.output);
            assert!(
                !ended.output.contains("panicked"),
                "{what}: {}",
                ended.output
            );
        }
        self.assert_unchanged(what);
    }

    /// Past the command line, whose own checks the server must not rely on.
    #[track_caller]
    fn refused_by_the_server(&self, what: &str, bytes: &[u8]) {
        for name in ["app", "new"] {
            let refusal = self
                .cluster
                .primary
                .api()
                .import(name, bytes.to_vec())
                .expect_err(what);
            assert_eq!(refusal.status, 400, "{what}: {refusal:?}");
            assert!(!refusal.text.trim().is_empty(), "{what}: it says why");
        }
        self.assert_unchanged(what);
    }

    #[track_caller]
    fn assert_unchanged(&self, what: &str) {
        assert_eq!(
            assert_agreement(&self.cluster, "app"),
            self.before,
            "{what}"
        );
        for node in [&self.cluster.primary, self.cluster.replica()] {
            assert!(
                !node.database("new").exists(),
                "{what}: a new database is there"
            );
            assert!(
                node.api().database("new").is_none(),
                "{what}: a new database is there"
            );
        }
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.cluster.stage.directory().join("source.db");
        fs::write(&path, bytes).expect("the directory of a stage is ours");
        path
    }

    fn spoilt(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut source = self.source.clone();
        source[at..at + bytes.len()].copy_from_slice(bytes);
        source
    }
}

#[test]
fn what_is_no_database_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let page_size_of_1000 = scene.spoilt(16, &1000u16.to_be_bytes());
    let half = &scene.source[..scene.source.len() / 2];
    let broken_page = &scene.source[..scene.source.len() - 100];
    scene.refused("text", b"this is a shopping list, and quite a long one: bread, milk, and so on, until the end of the list, which is behind the end of what would be a header\n", &["not"]);
    scene.refused("nothing", b"", &[]);
    scene.refused("a header alone", &scene.source[..60], &[]);
    scene.refused("a wrong page size", &page_size_of_1000, &["page size"]);
    scene.refused("half of the pages", half, &["page"]);
    scene.refused("a part of a page missing", broken_page, &[]);

    scene.refused_by_the_server("text", b"this is a shopping list");
    scene.refused_by_the_server("nothing", b"");
    scene.refused_by_the_server("a wrong page size", &page_size_of_1000);
    scene.refused_by_the_server("half of the pages", half);
    scene.refused_by_the_server("a part of a page missing", broken_page);
    assert_eq!(
        scene
            .cluster
            .primary
            .api()
            .import("new", scene.source.clone()),
        Ok(()),
        "and a good one is accepted"
    );
}

#[test]
fn names_that_leave_the_directory_are_refused() {
    let Some(scene) = Scene::new() else { return };
    for name in [
        "",
        "..",
        "../app",
        "a/b",
        "app-journal",
        "app-wal",
        "app-shm",
        "app-pos",
        "app-lock",
        "x\0y",
        &"n".repeat(300),
    ] {
        let refusal = scene
            .cluster
            .primary
            .api()
            .import(name, scene.source.clone())
            .expect_err(name);
        assert_eq!(refusal.status, 400, "{name:?}: {refusal:?}");
        let refusal = scene.cluster.primary.api().export(name).expect_err(name);
        assert!(matches!(refusal.status, 400 | 404), "{name:?}: {refusal:?}");
    }
    scene.assert_unchanged("bad names");
}

#[test]
fn a_replica_takes_no_import() {
    let Some(scene) = Scene::new() else { return };
    let refusal = scene
        .cluster
        .replica()
        .api()
        .import("new", scene.source.clone())
        .expect_err("a replica");
    assert_eq!(refusal.status, 503, "{refusal:?}");
    let path = scene.file(&scene.source);
    let url = scene.cluster.replica().api().url().to_owned();
    let ended = litefs(&[
        "import",
        "-url",
        &url,
        "-name",
        "new",
        path.to_str().expect("our paths are text"),
    ]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    assert!(
        ended.output.contains("primary"),
        "it says where to go instead: {}",
        ended.output
    );
    scene.assert_unchanged("import on a replica");
}

#[test]
fn an_import_that_breaks_off_changes_nothing() {
    use std::io::Write;
    let Some(scene) = Scene::new() else { return };
    for name in ["app", "new"] {
        let port = scene.cluster.primary.settings().port;
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connect");
        let head = format!(
            "POST /import?name={name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            scene.source.len()
        );
        stream.write_all(head.as_bytes()).expect("send the head");
        stream
            .write_all(&scene.source[..scene.source.len() / 2])
            .expect("send a part");
        drop(stream);
    }
    // A later request is answered only once the server has looked at the connections before it, or soon after; what
    // counts is that nothing of the parts ever shows.
    scene.assert_unchanged("an import that breaks off");
    assert_eq!(
        scene
            .cluster
            .primary
            .api()
            .import("new", scene.source.clone()),
        Ok(())
    );
    assert_agreement(&scene.cluster, "new");
}
