// Command gen writes the golden file whose pages are LZ4 frames, with github.com/superfly/ltx v0.5.1.
//
//	go run . ..
package main

import (
	"bytes"
	"log"
	"os"
	"path/filepath"

	"github.com/superfly/ltx"
)

// page is a page number and the seed of its content.
type page struct{ pgno, seed uint32 }

// content is the page that the tests make by the same rule (tests/fixture/mod.rs).
func content(p page, size uint32) []byte {
	b := make([]byte, size)
	switch (p.pgno + p.seed) % 3 {
	case 0: // zeros
	case 1: // a repeated group of four bytes that changes slowly
		for i := range b {
			if i%4 == 3 {
				b[i] = byte(uint32(i)/64 + p.seed)
			} else {
				b[i] = byte(p.pgno*7 + uint32(i)%4)
			}
		}
	case 2: // noise, which LZ4 cannot shrink
		x := uint64(p.pgno)<<32 | uint64(p.seed)<<1 | 1
		for i := range b {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			b[i] = byte(x >> 32)
		}
	}
	return b
}

func rolling(pages []page, size uint32) ltx.Checksum {
	sum := ltx.ChecksumFlag
	for _, p := range pages {
		sum = ltx.ChecksumFlag | (sum ^ ltx.ChecksumPage(p.pgno, content(p, size)))
	}
	return sum
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: gen DIRECTORY")
	}
	const size = 4096
	pages := []page{{1, 0}, {2, 0}, {3, 0}} // a pattern, noise, zeros
	var out bytes.Buffer
	enc, err := ltx.NewEncoder(&out)
	check(err)
	check(enc.EncodeHeader(ltx.Header{
		Version: ltx.Version, PageSize: size, Commit: uint32(len(pages)), MinTXID: 1, MaxTXID: 1, Timestamp: 1700000000000,
	}))
	for _, p := range pages {
		check(enc.EncodePage(ltx.PageHeader{Pgno: p.pgno}, content(p, size)))
	}
	enc.SetPostApplyChecksum(rolling(pages, size))
	check(enc.Close())
	check(os.WriteFile(filepath.Join(os.Args[1], "frames.ltx"), out.Bytes(), 0o644))
}
