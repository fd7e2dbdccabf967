//! The background look at all pages.

mod nodes;

use std::os::unix::fs::FileExt;
use std::time::Duration;

use nodes::{Node, PRIMARY, REPLICA, assert_equal, image, sync, until};
use store::{FileKind, Role};

fn with_scrub(role: Role) -> Node {
    let mut node = Node::start(Role::None);
    node.stop();
    node.open_with(role, |config| {
        config.scrub_interval = Duration::from_millis(20);
    });
    node
}

/// Flips a bit of a page in the file, past everything.
fn damage(node: &Node, pgno: u64) {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(node.backing(FileKind::Database))
        .unwrap();
    // Not the same bit in each page: CRCs are linear, and the database's checksum would not change.
    let at = (pgno - 1) * 4096 + 1000 + pgno;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_flipped_bit_is_named_on_both_and_repaired_on_the_replica() {
    let (primary, replica) = (with_scrub(PRIMARY()), with_scrub(REPLICA()));
    let image = image("delete", 4096, 800);
    primary.import(&image).unwrap();
    sync(&primary, &replica);
    let pos = primary.db().pos();
    for node in [&primary, &replica] {
        damage(node, 17);
        damage(node, 40);
        until("the pages are named", || {
            node.db().status().damaged_pages == [17, 40]
        });
        assert_eq!(node.db().pos(), pos);
    }
    assert!(!primary.db().wants_content());
    assert!(replica.db().wants_content());

    // The primary cannot send what it does not have.
    assert!(primary.snapshot().is_err());
    // An operator repairs it from a copy.
    std::fs::write(primary.backing(FileKind::Database), &image).unwrap();
    until("the pages are good again", || {
        primary.db().status().damaged_pages.is_empty()
    });
    let bytes = primary.snapshot().unwrap();
    let mut incoming = replica.db().incoming();
    incoming.write(&bytes).unwrap();
    replica.db().apply(incoming).unwrap();
    assert!(!replica.db().wants_content());
    assert!(replica.db().status().damaged_pages.is_empty());
    assert_equal(&primary, &replica);
    assert!(replica.export() == image);
    assert!(replica.aside().is_empty(), "{:?}", replica.aside());
}
