//! Where a node cannot run it says why in one sentence, ends with a status that is not 0, and leaves nothing mounted.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

use harness::client::Workload;
use harness::ledger::JournalMode;
use harness::{
    Cluster, Ended, Listener, Node, Stage, Tmpfs, assert_agreement, is_mounted, litefs_binary,
};

const LIMIT: Duration = Duration::from_secs(60);
/// The user id that owns nothing.
const NOBODY: u32 = 65_534;

/// A node that was never started.
fn node() -> Option<(Stage, Node)> {
    let stage = Stage::with_mounts(LIMIT)?;
    let node = Node::primary(&stage, "primary");
    Some((stage, node))
}

/// Exactly one complaint, in one line, with these words in it.
#[track_caller]
fn assert_one_sentence(ended: &Ended, words: &[&str]) {
    assert!(
        ended.status.code().is_some_and(|code| code != 0),
        "it ended with {}: {}",
        ended.status,
        ended.output
    );
    assert!(!ended.output.contains("panicked"), "{}", ended.output);
    let complaints: Vec<_> = ended
        .output
        .lines()
        .filter(|line| line.starts_with("ERROR: "))
        .collect();
    assert_eq!(
        complaints.len(),
        1,
        "one sentence is expected: {}",
        ended.output
    );
    for word in words {
        assert!(
            complaints[0].contains(word),
            "{word:?} is expected in {:?}",
            complaints[0]
        );
    }
}

#[test]
fn mount_point_that_is_a_file() {
    let Some((_stage, node)) = node() else { return };
    fs::remove_dir(node.mount()).expect("the mount point is empty");
    fs::write(node.mount(), "a file").expect("the directory of a stage is ours");
    let path = node.mount().display().to_string();
    assert_one_sentence(&node.refuse(&[]), &[&path, "directory"]);
    assert_eq!(
        fs::read(node.mount()).expect("the file is there"),
        b"a file"
    );
}

#[test]
fn mount_point_in_use() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let mut second = Node::primary(&cluster.stage, "second");
    second.settings_mut().mount = cluster.primary.mount().to_owned();
    let path = cluster.primary.mount().display().to_string();
    assert_one_sentence(&second.refuse(&[]), &[&path]);
    // Whoever has it goes on.
    Workload::new(JournalMode::Wal, 4096, 1)
        .transactions(10)
        .run(cluster.stage.tag(), &cluster.primary.database("app"));
    assert_agreement(&cluster, "app");
}

#[test]
fn port_in_use() {
    let Some((_stage, node)) = node() else { return };
    let port = node.settings().port;
    let _listener = Listener::on(port);
    assert_one_sentence(&node.refuse(&[]), &[&port.to_string(), "in use"]);
}

#[test]
fn data_directory_that_is_a_file() {
    let Some((_stage, node)) = node() else { return };
    fs::write(&node.settings().data, "a file").expect("the directory of a stage is ours");
    let path = node.settings().data.display().to_string();
    assert_one_sentence(&node.refuse(&[]), &[&path, "directory"]);
    assert_eq!(
        fs::read(&node.settings().data).expect("the file is there"),
        b"a file"
    );
}

#[test]
fn data_directory_on_a_read_only_file_system() {
    let Some((_stage, node)) = node() else { return };
    let tmpfs = Tmpfs::read_only(&node.settings().data);
    let path = tmpfs.path().display().to_string();
    assert_one_sentence(&node.refuse(&[]), &[&path, "ead-only"]);
}

#[test]
fn data_directory_of_another_program() {
    let Some((_stage, node)) = node() else { return };
    let data = node.settings().data.clone();
    fs::create_dir_all(data.join("base")).expect("the directory of a stage is ours");
    fs::write(data.join("PG_VERSION"), "16\n").expect("write");
    fs::write(data.join("base/1"), "not ours").expect("write");
    let path = data.display().to_string();
    assert_one_sentence(&node.refuse(&[]), &[&path]);
    let mut left: Vec<_> = fs::read_dir(&data)
        .expect("list")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["PG_VERSION", "base"], "nothing was added or removed");
    assert_eq!(fs::read(data.join("base/1")).expect("read"), b"not ours");
}

#[test]
fn data_directory_of_a_running_node() {
    let Some(cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let mut second = Node::primary(&cluster.stage, "second");
    second.settings_mut().data = cluster.primary.settings().data.clone();
    let path = cluster.primary.settings().data.display().to_string();
    assert_one_sentence(&second.refuse(&[]), &[&path]);
    Workload::new(JournalMode::Delete, 4096, 2)
        .transactions(10)
        .run(cluster.stage.tag(), &cluster.primary.database("app"));
    assert_agreement(&cluster, "app");
}

#[test]
fn data_and_mount_in_the_same_directory() {
    let Some((_stage, mut node)) = node() else {
        return;
    };
    node.settings_mut().data = node.mount().to_owned();
    assert_one_sentence(&node.refuse(&[]), &["data", "fuse"]);
}

/// What is in `dbs` and is no database is left alone, and the others are served.
#[test]
fn a_file_that_is_no_database_stops_nobody() {
    let Some(mut cluster) = Cluster::pair(LIMIT) else {
        return;
    };
    let tag = cluster.stage.tag().to_owned();
    Workload::new(JournalMode::Wal, 4096, 3)
        .transactions(10)
        .run(&tag, &cluster.primary.database("app"));
    cluster.primary.stop();
    let foreign = cluster.primary.settings().data.join("dbs/rubbish");
    fs::create_dir_all(&foreign).expect("the directory of a stage is ours");
    fs::write(
        foreign.join("database"),
        "no database at all, but somebody's file",
    )
    .expect("write");
    cluster.primary.start();
    Workload::new(JournalMode::Wal, 4096, 4)
        .more(5)
        .transactions(10)
        .run(&tag, &cluster.primary.database("app"));
    assert_agreement(&cluster, "app");
    let left = fs::read(foreign.join("database")).expect("it is still there");
    assert_eq!(left, b"no database at all, but somebody's file");
    assert!(
        cluster.primary.log().contains("rubbish"),
        "it is reported: {}",
        cluster.primary.log()
    );
}

#[test]
fn no_fuse_device() {
    let Some((stage, node)) = node() else { return };
    // A mount namespace of its own, with a /dev that has almost nothing.
    let dev = stage.directory().join("dev");
    fs::create_dir(&dev).expect("the directory of a stage is ours");
    let script = format!(
        "mount -t tmpfs none {dev} && for file in null zero urandom; do touch {dev}/$file && mount --bind /dev/$file {dev}/$file; done \
         && mount --move {dev} /dev && exec \"$@\"",
        dev = dev.display()
    );
    let ended = node.refuse(&[
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
    ]);
    assert_one_sentence(&ended, &["/dev/fuse"]);
}

#[test]
fn no_permission_to_mount() {
    let Some((stage, node)) = node() else { return };
    // A copy of the program that everybody can run, and directories that are nobody's own.
    let program = stage.directory().join("litefs");
    fs::copy(litefs_binary(), &program).expect("copy the program");
    let home = node
        .mount()
        .parent()
        .expect("a mount point is in a directory")
        .to_owned();
    for path in [stage.directory(), &home, node.mount()] {
        fs::set_permissions(path, Permissions::from_mode(0o755))
            .expect("the directory of a stage is ours");
    }
    chown(&home, Some(NOBODY), Some(NOBODY)).expect("root may do that");
    chown(node.mount(), Some(NOBODY), Some(NOBODY)).expect("root may do that");
    let user = NOBODY.to_string();
    let script = format!("exec {} mount -config \"$4\"", program.display());
    // The wrapper runs the copy instead of the program that is appended to it.
    let wrapper = [
        "setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    let ended = node.refuse(&wrapper);
    assert_one_sentence(&ended, &["fuse"]);
    assert!(
        ended.output.to_lowercase().contains("permission") || ended.output.contains("fusermount3"),
        "{}",
        ended.output
    );
}

#[test]
fn data_directory_without_permission() {
    let Some((stage, mut node)) = node() else {
        return;
    };
    let program = stage.directory().join("litefs");
    fs::copy(litefs_binary(), &program).expect("copy the program");
    let closed = stage.directory().join("closed");
    fs::create_dir(&closed).expect("the directory of a stage is ours");
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("ours");
    let home = node
        .mount()
        .parent()
        .expect("a mount point is in a directory")
        .to_owned();
    for path in [stage.directory(), &home] {
        fs::set_permissions(path, Permissions::from_mode(0o755))
            .expect("the directory of a stage is ours");
    }
    node.settings_mut().data = closed.join("data");
    let path = node.settings().data.display().to_string();
    let user = NOBODY.to_string();
    let script = format!("exec {} mount -config \"$4\"", program.display());
    let wrapper = [
        "setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    assert_one_sentence(&node.refuse(&wrapper), &[&path, "ermission"]);
}

#[test]
fn mistakes_in_the_configuration_are_shown() {
    let Some((_stage, node)) = node() else { return };
    let good = node.settings().yaml();
    let file = node.config_path().display().to_string();
    for (wrong, words) in [
        (
            good.replace("  passthrough:", "  pass-through:"),
            "pass-through",
        ),
        (
            good.replace("  passthrough: true", "  passthrough: perhaps"),
            "perhaps",
        ),
        (
            good.replace("type: static", "type: democratic"),
            "democratic",
        ),
        (good.replace("format: text", "format: rhyme"), "rhyme"),
        (
            good.replace("data:\n", "data:\n  retention: ten minutes\n"),
            "ten minutes",
        ),
    ] {
        assert_ne!(wrong, good, "the mistake is in the file");
        let line = 1 + wrong
            .lines()
            .position(|line| line.contains(words))
            .expect("it is there");
        let ended = node.refuse_config(&wrong);
        assert_eq!(ended.status.code(), Some(2), "{}", ended.output);
        assert!(
            ended.output.contains(&format!("{file}:{line}")),
            "the place is named: {}",
            ended.output
        );
        assert!(
            ended.output.contains(words) && ended.output.contains('^'),
            "a caret under it: {}",
            ended.output
        );
        assert!(!ended.output.contains("panicked"), "{}", ended.output);
    }
    for (wrong, words) in [
        (
            good.replace("lease:\n  type: static\n", "lease:\n"),
            "lease",
        ),
        (String::from("fuse: [\n"), "litefs.yml"),
        (String::from("\u{0}\u{1}"), "litefs.yml"),
    ] {
        let ended = node.refuse_config(&wrong);
        assert_eq!(ended.status.code(), Some(2), "{}", ended.output);
        assert!(
            ended.output.contains(words) && !ended.output.contains("panicked"),
            "{}",
            ended.output
        );
    }
}

#[test]
fn a_missing_configuration_is_named() {
    let ended = harness::litefs(&["mount", "-config", "/nonexistent/litefs.yml"]);
    assert_one_sentence(&ended, &["/nonexistent/litefs.yml"]);
    let ended = harness::litefs(&["frobnicate"]);
    assert_one_sentence(&ended, &["unknown command"]);
    assert_eq!(ended.status.code(), Some(1));
    let ended = harness::litefs(&["version"]);
    assert!(
        ended.status.success() && ended.output.starts_with("LiteFS"),
        "{}",
        ended.output
    );
}

/// A mount point that is not there is made, as LiteFS makes it, or refused in one sentence; it is never half done.
#[test]
fn mount_point_that_is_missing() {
    let Some((_stage, mut node)) = node() else {
        return;
    };
    fs::remove_dir(node.mount()).expect("the mount point is empty");
    node.start();
    assert!(is_mounted(node.mount()));
    node.stop();
}
