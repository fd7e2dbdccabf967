use crate::{TxId, hex};

/// The name of the file with these transactions: `<min>-<max>.ltx`, both as 16 lower-case hexadecimal digits.
pub fn file_name(min: TxId, max: TxId) -> String {
    format!("{min}-{max}.ltx")
}

/// The first and last transaction of the file with this name, `None` if it is not exactly what [`file_name`] gives.
///
/// The name says nothing of the content: whether the transactions are in order is for the header to tell.
pub fn parse_file_name(name: &str) -> Option<(TxId, TxId)> {
    let (min, max) = name.strip_suffix(".ltx")?.split_once('-')?;
    // Upper case would make two names of one file.
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    Some((
        TxId::new(hex::parse_16(min)?),
        TxId::new(hex::parse_16(max)?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        let name = file_name(TxId::new(1), TxId::new(0xabcd));
        assert_eq!(name, "0000000000000001-000000000000abcd.ltx");
        assert_eq!(
            parse_file_name(&name),
            Some((TxId::new(1), TxId::new(0xabcd)))
        );
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            ".ltx",
            "0000000000000001-000000000000abcd.ltx.tmp",
            "0000000000000001-000000000000ABCD.ltx",
            "0000000000000001-000000000000abcd.LTX",
            "0000000000000001.ltx",
            "1-2.ltx",
            "0000000000000001-0000000000000002-.ltx",
            "x0000000000000001-0000000000000002.ltx",
        ] {
            assert_eq!(parse_file_name(name), None, "{name:?}");
        }
    }
}
