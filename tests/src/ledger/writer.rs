//! The transactions of the workload: a function of the seed, as far as one connection goes.

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::ledger::digest;
use crate::ledger::schema::{ACCOUNTS, FIRST_TICK, LAST_TICK};

/// With more items than this, transactions delete instead of inserting.
const MANY: i64 = 500;
/// Item ids are below this, so that deleted ones come again.
const IDS: i64 = 1000;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It changed the database: one TXID.
    Committed,
    /// It wrote nothing: no TXID.
    Unchanged,
    /// It was undone. In the rollback modes free pages may have changed, if its pages did not fit into the page cache:
    /// at most one TXID.
    RolledBack,
}

/// One connection of the workload.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    random: StdRng,
    page_size: usize,
}

impl Writer {
    /// A writer on `connection`, with the transactions of `seed`.
    pub fn new(connection: Connection, seed: u64, page_size: u32) -> Writer {
        let page_size = usize::try_from(page_size).expect("page sizes are small");
        Writer {
            connection,
            random: StdRng::seed_from_u64(seed),
            page_size,
        }
    }

    /// Does one transaction.
    ///
    /// # Errors
    /// SQLite's. The transaction is undone then.
    pub fn transact(&mut self) -> rusqlite::Result<End> {
        match self.random.random_range(0..100) {
            0..4 => return self.checkpoint().map(|()| End::Unchanged),
            4..8 => return self.look().map(|()| End::Unchanged),
            8..16 => return self.autocommit().map(|()| End::Committed),
            _ => {}
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut work = Work {
            transaction: &transaction,
            random: &mut self.random,
            page_size: self.page_size,
        };
        if work.random.random_range(0..25) == 0 {
            work.rewrite_many()?;
        }
        for _ in 0..work.random.random_range(1..4) {
            work.step()?;
        }
        work.close()?;
        if self.random.random_range(0..100) < 15 {
            transaction.rollback()?;
            return Ok(End::RolledBack);
        }
        transaction.commit()?;
        Ok(End::Committed)
    }

    /// Not every checkpoint gets what it wants with readers about; that is no error.
    fn checkpoint(&mut self) -> rusqlite::Result<()> {
        let mode = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][self.random.random_range(0..4)];
        self.connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
    }

    /// A transaction that takes the write lock and changes nothing.
    fn look(&mut self) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.query_row("SELECT count(*) FROM item", [], |_| Ok(()))?;
        transaction.commit()
    }

    fn autocommit(&mut self) -> rusqlite::Result<()> {
        self.connection
            .prepare(BOTH_TICKS)?
            .execute([FIRST_TICK, LAST_TICK])
            .map(drop)
    }
}

const BOTH_TICKS: &str = "UPDATE tick SET value = value + 1 WHERE id IN (?1, ?2)";

/// The inside of a transaction.
struct Work<'a> {
    transaction: &'a Transaction<'a>,
    random: &'a mut StdRng,
    page_size: usize,
}

impl Work<'_> {
    fn step(&mut self) -> rusqlite::Result<()> {
        match self.random.random_range(0..10) {
            0..3 => self.transfer(),
            3..6 => self.grow_or_shrink(),
            6..8 => self.update_items(),
            _ => self.savepoint(),
        }
    }

    fn transfer(&mut self) -> rusqlite::Result<()> {
        let amount = self.random.random_range(1..50);
        for signed in [amount, -amount] {
            let account = self.random.random_range(1..=ACCOUNTS);
            self.transaction
                .prepare("UPDATE account SET balance = balance + ?1, note = ?2 WHERE id = ?3")?
                .execute(params![signed, self.blob(), account])?;
        }
        Ok(())
    }

    fn grow_or_shrink(&mut self) -> rusqlite::Result<()> {
        let items: i64 = self
            .transaction
            .query_row("SELECT count(*) FROM item", [], |row| row.get(0))?;
        if items > MANY || self.random.random_range(0..4) == 0 {
            self.delete_items()
        } else {
            self.insert_items()
        }
    }

    fn insert_items(&mut self) -> rusqlite::Result<()> {
        for _ in 0..self.random.random_range(1..20) {
            let (id, key, data) = (self.random.random_range(0..IDS), self.key(), self.blob());
            self.transaction
                .prepare(
                    "INSERT OR REPLACE INTO item(id, key, digest, data) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![id, key, digest(&data), data])?;
        }
        Ok(())
    }

    fn update_items(&mut self) -> rusqlite::Result<()> {
        let (from, data) = (self.random.random_range(0..IDS), self.blob());
        self.transaction
            .prepare("UPDATE item SET digest = ?1, data = ?2, key = key || '+' WHERE id BETWEEN ?3 AND ?3 + 5")?
            .execute(params![digest(&data), data, from])
            .map(drop)
    }

    /// A range of items, so that whole pages become free and later transactions use them again.
    fn delete_items(&mut self) -> rusqlite::Result<()> {
        let from = self.random.random_range(0..IDS);
        self.transaction
            .execute("DELETE FROM item WHERE id BETWEEN ?1 AND ?1 + 150", [from])
            .map(drop)
    }

    /// More pages than the small page cache of the first connection holds: they are written before the commit.
    fn rewrite_many(&mut self) -> rusqlite::Result<()> {
        self.transaction
            .execute("UPDATE account SET note = randomblob(700)", [])?;
        let data = vec![self.random.random(); self.page_size / 2];
        self.transaction
            .execute(
                "UPDATE item SET digest = ?1, data = ?2 WHERE id % 3 = 0",
                params![digest(&data), data],
            )
            .map(drop)
    }

    /// A part that is undone inside a transaction that goes on, and one that is kept.
    fn savepoint(&mut self) -> rusqlite::Result<()> {
        self.transaction.execute_batch("SAVEPOINT outer_part")?;
        self.insert_items()?;
        self.transaction.execute_batch("SAVEPOINT inner_part")?;
        self.delete_items()?;
        self.transfer()?;
        self.transaction
            .execute_batch("ROLLBACK TO inner_part; RELEASE inner_part; RELEASE outer_part")
    }

    /// Restores the invariants.
    fn close(&mut self) -> rusqlite::Result<()> {
        self.transaction
            .prepare(
                "UPDATE total SET (items, bytes, digests) =
                   (SELECT count(*), coalesce(sum(length(data)), 0), coalesce(sum(digest), 0) FROM item)",
            )?
            .execute([])?;
        self.transaction
            .prepare(BOTH_TICKS)?
            .execute([FIRST_TICK, LAST_TICK])
            .map(drop)
    }

    fn key(&mut self) -> String {
        format!("{:08x}", self.random.random::<u32>())
    }

    /// Mostly small, sometimes of a page or several, sometimes a long chain of overflow pages.
    fn blob(&mut self) -> Vec<u8> {
        let page = self.page_size.min(8192);
        let length = match self.random.random_range(0..100) {
            0..70 => self.random.random_range(0..200),
            70..90 => self.random.random_range(page / 2..page),
            90..98 => self.random.random_range(page..3 * page),
            _ => self.random.random_range(20_000..60_000),
        };
        let mut bytes = vec![0; length];
        self.random.fill_bytes(&mut bytes);
        bytes
    }
}
