//! The checksum of a database, computed here from its bytes alone: what a position has to say about them.

/// Set in every checksum.
const FLAG: u64 = 1 << 63;
/// CRC-64 of ISO 3309, lowest bit first.
const POLYNOMIAL: u64 = 0xd800_0000_0000_0000;
/// The page with this byte is SQLite's lock page, which has no checksum.
const LOCK_BYTE: usize = 0x4000_0000;

/// The XOR of the checksums of all pages, as a position has it: CRC-64 of the page number, four bytes, big-endian, and
/// the page.
///
/// # Panics
/// If `file` is not a SQLite database of whole pages.
pub fn database_checksum(file: &[u8]) -> u64 {
    let page_size = match u16::from_be_bytes([file[16], file[17]]) {
        1 => 65_536,
        size => usize::from(size),
    };
    assert_eq!(file.len() % page_size, 0, "half a page at the end");
    let lock_page = LOCK_BYTE / page_size + 1;
    let table = table();
    let pages = (1u32..).zip(file.chunks(page_size));
    let checksums = pages
        .filter(|(number, _)| *number as usize != lock_page)
        .map(|(number, page)| {
            let crc = update(&table, u64::MAX, &number.to_be_bytes());
            !update(&table, crc, page)
        });
    FLAG | checksums.fold(0, |all, one| all ^ one)
}

fn table() -> [u64; 256] {
    std::array::from_fn(|byte| {
        (0..8).fold(byte as u64, |crc, _| (crc >> 1) ^ (POLYNOMIAL * (crc & 1)))
    })
}

fn update(table: &[u64; 256], crc: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(crc, |crc, byte| {
        table[((crc ^ u64::from(*byte)) & 0xff) as usize] ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_the_catalogue() {
        assert_eq!(
            !update(&table(), u64::MAX, b"123456789"),
            0xb909_56c7_75a4_1001
        );
    }
}
