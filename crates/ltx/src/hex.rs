/// The value of exactly 16 hexadecimal digits of either case, without sign or prefix.
pub(crate) fn parse_16(text: &str) -> Option<u64> {
    if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::parse_16;

    #[test]
    fn takes_exactly_sixteen_digits() {
        assert_eq!(parse_16("00000000000000fF"), Some(255));
        assert_eq!(parse_16("ffffffffffffffff"), Some(u64::MAX));
        for wrong in [
            "",
            "ff",
            "000000000000000g",
            "+00000000000000f",
            "00000000000000000",
            "0x00000000000000",
            "é00000000000000",
        ] {
            assert_eq!(parse_16(wrong), None, "{wrong:?}");
        }
    }
}
