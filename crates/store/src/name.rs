//! Names in the mount. The mount is one flat directory, so a file's name says everything: which database it
//! belongs to and which of SQLite's files it is. Names are checked once, here, and then are types.

use std::fmt;
use std::sync::Arc;

/// Longest file name that Linux file systems take (NAME_MAX), in bytes.
const NAME_MAX: usize = 255;

/// Room that the longest suffix takes: `-journal`, or a super-journal's `-mjXXXXXXXXX`.
const SUFFIX_ROOM: usize = 16;

/// The name of a database: the name of its file in the mount.
///
/// It is also the name of a directory under `<data>/dbs`, so it may hold neither `/` nor NUL, and it is not one
/// of the names that mean something else in the mount.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbName(Arc<str>);

/// Why a text is not the name of a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty, `.` or `..`.
    #[error("{0:?} is not a file name")]
    NotAName(String),
    /// A byte that no file name may have.
    #[error("{0:?} contains a slash or a NUL byte")]
    BadByte(String),
    /// Longer than the file system and SQLite's suffixes allow.
    #[error("{0:?} is longer than {max} bytes", max = NAME_MAX - SUFFIX_ROOM)]
    TooLong(String),
    /// The name of one of SQLite's companions or of a file that litefs makes up.
    #[error(
        "{0:?} is reserved: it is not the name of a database but of a file that belongs to one, or of litefs's own"
    )]
    Reserved(String),
}

impl DbName {
    /// Checks `text` and makes it a name.
    pub fn new(text: &str) -> Result<DbName, NameError> {
        check_bytes(text)?;
        if text.len() > NAME_MAX - SUFFIX_ROOM {
            return Err(NameError::TooLong(text.to_owned()));
        }
        match MountName::classify(text) {
            Classified::Database => Ok(DbName(text.into())),
            _ => Err(NameError::Reserved(text.to_owned())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in the mount of one of this database's files.
    pub fn file(&self, kind: FileKind) -> String {
        format!("{}{}", self.0, kind.suffix())
    }
}

impl fmt::Display for DbName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DbName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::str::FromStr for DbName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<DbName, NameError> {
        DbName::new(text)
    }
}

fn check_bytes(text: &str) -> Result<(), NameError> {
    if text.is_empty() || text == "." || text == ".." {
        return Err(NameError::NotAName(text.to_owned()));
    }
    if text.bytes().any(|b| b == b'/' || b == 0) {
        return Err(NameError::BadByte(text.to_owned()));
    }
    Ok(())
}

/// Which of SQLite's files a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// The database file itself.
    Database,
    /// The rollback journal, `X-journal`.
    Journal,
    /// The write-ahead log, `X-wal`.
    Wal,
    /// The wal-index in shared memory, `X-shm`.
    Shm,
}

impl FileKind {
    /// All kinds, in the order in which a directory listing shows them.
    pub const ALL: [FileKind; 4] = [
        FileKind::Database,
        FileKind::Journal,
        FileKind::Wal,
        FileKind::Shm,
    ];

    /// What SQLite appends to the database's name.
    pub fn suffix(self) -> &'static str {
        match self {
            FileKind::Database => "",
            FileKind::Journal => "-journal",
            FileKind::Wal => "-wal",
            FileKind::Shm => "-shm",
        }
    }

    /// The name of the backing file in the database's directory.
    pub fn backing_name(self) -> &'static str {
        match self {
            FileKind::Database => "database",
            FileKind::Journal => "journal",
            FileKind::Wal => "wal",
            FileKind::Shm => "shm",
        }
    }
}

/// What a name in the mount stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MountName {
    /// A database or one of the files that SQLite keeps beside it.
    File(DbName, FileKind),
    /// A super-journal of a transaction over several databases (`X-mjNNNNNNNNN`); the text is the whole name.
    SuperJournal(String),
    /// `X-pos`: the position of a database.
    Pos(DbName),
    /// `X-lock`: the HALT lock of a database.
    Lock(DbName),
    /// `.primary`: the primary's host name, while this node is a connected replica.
    Primary,
    /// `.lag`: how far this node is behind.
    Lag,
}

enum Classified {
    Database,
    Companion(usize, FileKind),
    SuperJournal,
    Pos,
    Lock,
    Primary,
    Lag,
}

impl MountName {
    /// Reads a file name of the mount.
    pub fn parse(text: &str) -> Result<MountName, NameError> {
        check_bytes(text)?;
        let owner = |suffix: usize| DbName::new(&text[..text.len() - suffix]);
        Ok(match Self::classify(text) {
            Classified::Database => MountName::File(DbName::new(text)?, FileKind::Database),
            Classified::Companion(suffix, kind) => MountName::File(owner(suffix)?, kind),
            Classified::SuperJournal => MountName::SuperJournal(text.to_owned()),
            Classified::Pos => MountName::Pos(owner("-pos".len())?),
            Classified::Lock => MountName::Lock(owner("-lock".len())?),
            Classified::Primary => MountName::Primary,
            Classified::Lag => MountName::Lag,
        })
    }

    fn classify(text: &str) -> Classified {
        for kind in [FileKind::Journal, FileKind::Wal, FileKind::Shm] {
            if text.ends_with(kind.suffix()) {
                return Classified::Companion(kind.suffix().len(), kind);
            }
        }
        match text {
            _ if text.ends_with("-pos") => Classified::Pos,
            _ if text.ends_with("-lock") => Classified::Lock,
            ".primary" => Classified::Primary,
            ".lag" => Classified::Lag,
            _ if is_super_journal(text) => Classified::SuperJournal,
            _ => Classified::Database,
        }
    }
}

/// SQLite names a super-journal after the main database: `-mj`, six upper-case hex digits, `9`, two more.
fn is_super_journal(text: &str) -> bool {
    let Some((_, tail)) = text.rsplit_once("-mj") else {
        return false;
    };
    let hex = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    tail.len() == 9 && tail.bytes().all(hex) && tail.as_bytes()[6] == b'9'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_every_kind_of_name() {
        let db = || DbName::new("app.db").unwrap();
        assert_eq!(
            MountName::parse("app.db"),
            Ok(MountName::File(db(), FileKind::Database))
        );
        assert_eq!(
            MountName::parse("app.db-journal"),
            Ok(MountName::File(db(), FileKind::Journal))
        );
        assert_eq!(
            MountName::parse("app.db-wal"),
            Ok(MountName::File(db(), FileKind::Wal))
        );
        assert_eq!(
            MountName::parse("app.db-shm"),
            Ok(MountName::File(db(), FileKind::Shm))
        );
        assert_eq!(MountName::parse("app.db-pos"), Ok(MountName::Pos(db())));
        assert_eq!(MountName::parse("app.db-lock"), Ok(MountName::Lock(db())));
        assert_eq!(MountName::parse(".primary"), Ok(MountName::Primary));
        assert_eq!(MountName::parse(".lag"), Ok(MountName::Lag));
        assert_eq!(
            MountName::parse("app.db-mjA1B2C39D4"),
            Ok(MountName::SuperJournal("app.db-mjA1B2C39D4".into()))
        );
        // Not SQLite's pattern: an ordinary name.
        assert!(matches!(
            MountName::parse("app-mjx"),
            Ok(MountName::File(_, FileKind::Database))
        ));
    }

    #[test]
    fn refuses_names_that_would_leave_the_directory_or_collide() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "a\0b",
            "-wal",
            "-journal",
            "x-wal-pos-wal",
        ] {
            let parsed = MountName::parse(bad);
            assert!(parsed.is_err(), "{bad:?} parsed as {parsed:?}");
        }
        assert!(matches!(DbName::new("x-wal"), Err(NameError::Reserved(_))));
        assert!(matches!(DbName::new(".lag"), Err(NameError::Reserved(_))));
        assert!(matches!(
            DbName::new(&"x".repeat(240)),
            Err(NameError::TooLong(_))
        ));
    }
}
