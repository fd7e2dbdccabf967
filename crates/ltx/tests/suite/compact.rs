use ltx::{
    Checksum, ChecksumTracking, Compactor, Compression, Error, Header, TxId, Writer, compact,
    verify,
};
use proptest::prelude::*;

use crate::{
    database::Database,
    fixture::{Page, file, page_size, pgno, read, snapshot},
};

/// A transaction: pages after it, and the pages it writes with their seeds.
#[derive(Clone, Debug)]
struct Transaction {
    commit: u32,
    pages: Vec<Page>,
}

fn transaction() -> impl Strategy<Value = Transaction> {
    (
        0..14u32,
        proptest::collection::btree_map(1..14u32, 0..1000u32, 0..10),
    )
        .prop_map(|(commit, pages)| Transaction {
            commit,
            pages: pages
                .into_iter()
                .filter(|(pgno, _)| *pgno <= commit)
                .map(|(pgno, seed)| Page { pgno, seed })
                .collect(),
        })
}

/// The files of the transactions from `first` on, and the database after all of them.
fn files(first: u64, base: &Database, transactions: &[Transaction]) -> (Vec<Vec<u8>>, Database) {
    let mut database = base.clone();
    let mut files = Vec::new();
    for (txid, transaction) in (first..).zip(transactions) {
        let mut pages = transaction.pages.clone();
        if txid == 1 {
            pages = (1..=transaction.commit)
                .map(|pgno| Page { pgno, seed: 1 })
                .collect();
        }
        let header = Header {
            min_txid: TxId::new(txid),
            max_txid: TxId::new(txid),
            timestamp_ms: txid as i64,
            pre_apply_checksum: if txid == 1 {
                Checksum::NONE
            } else {
                database.checksum()
            },
            node_id: 5,
            ..snapshot(database.page_size, transaction.commit)
        };
        database.pages.resize(
            transaction.commit as usize,
            vec![0; database.page_size.bytes()],
        );
        for page in &pages {
            database.pages[page.number().index()] = page.content(database.page_size);
        }
        files.push(file(header, &pages, database.checksum(), Compression::Lz4));
    }
    (files, database)
}

fn compacted(inputs: &[Vec<u8>]) -> ltx::Result<Vec<u8>> {
    let mut output = Vec::new();
    let ends = compact(inputs.iter().map(Vec::as_slice).collect(), &mut output)?;
    assert_eq!(verify(&output[..]).unwrap(), ends);
    Ok(output)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn compaction_equals_sequential_application(
        first in prop_oneof![Just(1u64), Just(2), Just(77)],
        base in 0..14u32,
        transactions in proptest::collection::vec(transaction(), 1..8),
        split in any::<prop::sample::Index>(),
    ) {
        let size = page_size(512);
        let mut database = Database::empty(size);
        if first > 1 {
            database.pages = (1..=base).map(|pgno| Page { pgno, seed: 9 }.content(size)).collect();
        }
        let (files, expected) = files(first, &database, &transactions);
        let whole = compacted(&files)?;
        let header = read(&whole)?.header;
        prop_assert_eq!(header.min_txid.get(), first);
        prop_assert_eq!(header.max_txid.get(), first + files.len() as u64 - 1);
        prop_assert_eq!(header.timestamp_ms, header.max_txid.get() as i64);
        prop_assert_eq!(header.node_id, 0);

        let mut applied = database.clone();
        applied.apply(&whole);
        prop_assert!(applied == expected);

        // In two steps it is the same file.
        let (head, tail) = files.split_at(split.index(files.len()));
        let mut parts = Vec::new();
        for part in [head, tail] {
            if !part.is_empty() {
                parts.push(compacted(part)?);
            }
        }
        prop_assert_eq!(compacted(&parts)?, whole);
    }
}

#[test]
fn pages_cut_off_do_not_come_back() {
    let size = page_size(512);
    let base = Database::empty(size);
    let grown = [
        Transaction {
            commit: 6,
            pages: vec![],
        },
        Transaction {
            commit: 3,
            pages: vec![Page { pgno: 2, seed: 3 }],
        },
        Transaction {
            commit: 5,
            pages: vec![Page { pgno: 5, seed: 3 }],
        },
    ];
    let (files, expected) = files(1, &base, &grown);
    let content = read(&compacted(&files).unwrap()).unwrap();
    assert_eq!(
        content
            .pages
            .iter()
            .map(|(pgno, _)| pgno.get())
            .collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(content.pages[3].1, vec![0; 512]);
    assert_eq!(expected.pages[3], vec![0; 512]);
}

fn chain(count: usize) -> Vec<Vec<u8>> {
    let write = Transaction {
        commit: 4,
        pages: vec![Page { pgno: 2, seed: 7 }],
    };
    files(1, &Database::empty(page_size(512)), &vec![write; count]).0
}

#[test]
fn inputs_must_follow_each_other() {
    let chain = chain(4);
    assert!(matches!(compacted(&[]), Err(Error::NoInputs)));
    for (name, inputs) in [
        ("gap", [&chain[0], &chain[2]]),
        ("twice", [&chain[1], &chain[1]]),
        ("backwards", [&chain[2], &chain[1]]),
    ] {
        let error = compacted(&inputs.map(Clone::clone));
        assert!(
            matches!(error, Err(Error::NotContiguous { number: 1, .. })),
            "{name}: {error:?}"
        );
    }

    // The TXIDs follow, the checksums do not.
    let foreign = file(
        Header {
            min_txid: TxId::new(2),
            max_txid: TxId::new(2),
            pre_apply_checksum: Checksum::from_raw(1 << 63 | 1),
            ..snapshot(page_size(512), 4)
        },
        &[],
        Checksum::from_raw(1 << 63 | 1),
        Compression::Lz4,
    );
    assert!(matches!(
        compacted(&[chain[0].clone(), foreign]),
        Err(Error::NotContiguous { number: 1, .. })
    ));
}

#[test]
fn inputs_must_be_of_one_kind() {
    let chain = chain(1);
    let next = |size, pre, tracking| {
        let header = Header {
            min_txid: TxId::new(2),
            max_txid: TxId::new(2),
            pre_apply_checksum: pre,
            ..snapshot(page_size(size), 4)
        };
        Writer::with_tracking(Vec::new(), header, tracking)
            .unwrap()
            .finish(pre)
            .unwrap()
            .0
    };
    let other_size = next(1024, Checksum::EMPTY, ChecksumTracking::Tracked);
    assert!(matches!(
        compacted(&[chain[0].clone(), other_size]),
        Err(Error::PageSizeMismatch {
            number: 1,
            expected: 512,
            found: 1024
        })
    ));
    let untracked = next(512, Checksum::NONE, ChecksumTracking::Untracked);
    assert!(matches!(
        compacted(&[chain[0].clone(), untracked.clone()]),
        Err(Error::TrackingMismatch { number: 1 })
    ));

    let alone = compacted(&[untracked]).unwrap();
    assert_eq!(
        read(&alone).unwrap().trailer.post_apply_checksum,
        Checksum::NONE
    );
}

#[test]
fn a_damaged_input_is_named() {
    let mut chain = chain(3);
    let last = chain[1].len() - 1;
    chain[1][last] ^= 1;
    match compacted(&chain) {
        Err(Error::Input { number: 1, source }) => {
            assert!(matches!(*source, Error::FileChecksum { .. }))
        }
        other => panic!("{other:?}"),
    }
    chain[1].truncate(50);
    assert!(matches!(
        compacted(&chain),
        Err(Error::Input { number: 1, .. })
    ));
}

#[test]
fn the_header_is_known_before_and_pages_can_be_stored() {
    let chain = chain(3);
    let compactor = Compactor::new(chain.iter().map(Vec::as_slice).collect()).unwrap();
    assert_eq!(compactor.header().max_txid, TxId::new(3));
    let mut output = Vec::new();
    compactor
        .with_compression(Compression::None)
        .write_to(&mut output)
        .unwrap();
    assert!(output.len() > 4 * 512);
    assert_eq!(
        read(&output).unwrap().pages[1],
        (pgno(2), Page { pgno: 2, seed: 7 }.content(page_size(512)))
    );
}
