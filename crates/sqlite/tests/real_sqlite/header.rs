use sqlite::header::DatabaseHeader;

use crate::python::{Sqlite, insert};

#[test]
fn fields_are_what_sqlite_says() {
    let directory = tempfile::tempdir().unwrap();
    for page_size in [512, 1024, 4096, 32768, 65536] {
        let database = directory.path().join(format!("{page_size}.db"));
        let mut sqlite = Sqlite::connected("a", &database);
        sqlite.sql("a", &format!("pragma page_size = {page_size}"));
        sqlite.sql("a", "create table t (v, data)");
        sqlite.sql("a", &insert(100, 3000));
        sqlite.sql("a", "delete from t where rowid > 10");
        let header = DatabaseHeader::parse(&std::fs::read(&database).unwrap()).unwrap();
        assert_eq!(header.page_size.get(), page_size);
        assert_eq!(header.reserved, 0);
        assert!(!header.is_wal());
        let pragma = |sqlite: &mut Sqlite, name: &str| -> u32 {
            sqlite.sql("a", &format!("pragma {name}")).parse().unwrap()
        };
        assert_eq!(
            header.trusted_page_count(),
            Some(pragma(&mut sqlite, "page_count"))
        );
        assert_eq!(header.freelist_count, pragma(&mut sqlite, "freelist_count"));
        assert!(header.freelist_count > 0 && header.freelist_trunk > 0);
        assert_eq!(header.schema_cookie, pragma(&mut sqlite, "schema_version"));
        assert_eq!(header.change_counter, 3);

        sqlite.sql("a", "pragma journal_mode = wal");
        assert!(
            DatabaseHeader::parse(&std::fs::read(&database).unwrap())
                .unwrap()
                .is_wal()
        );
    }
}
