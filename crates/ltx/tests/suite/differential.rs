//! Whether the two programs agree on what a file is, bit by bit.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use ltx::{Checksum, Compression, verify};

use crate::{
    fixture::{Page, block_bytes, file, increment, page_size, read, rolling, snapshot},
    go,
};

#[test]
fn go_agrees_on_every_flipped_bit() {
    let Some(tool) = go::tool() else { return };
    let size = page_size(512);
    // A pattern and noise. No page of zeros: Go takes a block that is short of a page and leaves the rest of its
    // buffer, which then would be right by chance; here such a block is refused.
    let pages = [Page { pgno: 1, seed: 0 }, Page { pgno: 2, seed: 0 }];
    let whole = file(
        snapshot(size, 2),
        &pages,
        rolling(&pages, size),
        Compression::Lz4,
    );
    let header = increment(size, 9, Checksum::EMPTY);
    let part = file(header, &pages[..1], Checksum::EMPTY, Compression::Lz4);
    for good in [whole, part] {
        let flips: Vec<Flip> = (0..good.len())
            .flat_map(|at| (0..8).map(move |bit| Flip { at, bit }))
            .collect();
        let ours: BTreeSet<Flip> = flips
            .iter()
            .copied()
            .filter(|flip| verify(&flip.of(&good)[..]).is_err())
            .collect();
        let theirs = refused_by_go(tool, &good, &flips);

        let refused_here: Vec<&Flip> = ours.difference(&theirs).collect();
        assert!(
            refused_here.is_empty(),
            "refused here only: {refused_here:?}"
        );
        // An LZ4 block ends with a token whose low four bits mean nothing: Go's decoder wants zeros there. That is the
        // one thing in which the two may differ, and the page is the same with any bits.
        let is_block = block_bytes(&good);
        let accepted_here: Vec<&Flip> = theirs.difference(&ours).collect();
        assert!(
            accepted_here.len() <= 4 * pages.len(),
            "accepted here only: {accepted_here:?}"
        );
        for flip in accepted_here {
            assert!(
                is_block[flip.at] && flip.bit < 4,
                "accepted here only: {flip:?}"
            );
            assert!(
                read(&flip.of(&good)).unwrap() == read(&good).unwrap(),
                "{flip:?}"
            );
        }
    }
}

/// One bit of a file to flip.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Flip {
    at: usize,
    bit: u32,
}

impl Flip {
    fn of(self, file: &[u8]) -> Vec<u8> {
        let mut bytes = file.to_vec();
        bytes[self.at] ^= 1 << self.bit;
        bytes
    }

    fn name(self) -> String {
        format!("{}.{}", self.at, self.bit)
    }
}

/// Those of the flips that give a file Go does not verify.
fn refused_by_go(tool: &Path, good: &[u8], flips: &[Flip]) -> BTreeSet<Flip> {
    let directory = go::directory();
    let paths = flips.iter().map(|flip| {
        let path = directory.path().join(flip.name());
        fs::write(&path, flip.of(good)).unwrap();
        path
    });
    let output = go::run(tool, [PathBuf::from("verify")].into_iter().chain(paths));
    let text = String::from_utf8(output.stdout).unwrap();

    let prefix = format!("{}/", directory.path().display());
    let names: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix)?.split(':').next())
        .collect();
    let refused: BTreeSet<Flip> = flips
        .iter()
        .copied()
        .filter(|flip| names.contains(&*flip.name()))
        .collect();
    // The last line counts them, so none was missed.
    let summary = format!(
        "{} ok, {} invalid",
        flips.len() - refused.len(),
        refused.len()
    );
    assert_eq!(text.lines().last(), Some(&*summary));
    refused
}
