// Command gen writes the golden files of the ltx crate with github.com/superfly/ltx v0.5.2.
//
//	go run . ..
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

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

var (
	dir      string
	manifest strings.Builder
)

// encode gives the file with these pages.
func encode(h ltx.Header, pages []page, post ltx.Checksum) []byte {
	h.Version = ltx.Version
	var out bytes.Buffer
	enc, err := ltx.NewEncoder(&out)
	check(err)
	check(enc.EncodeHeader(h))
	for _, p := range pages {
		check(enc.EncodePage(ltx.PageHeader{Pgno: p.pgno}, content(p, h.PageSize)))
	}
	enc.SetPostApplyChecksum(post)
	check(enc.Close())
	return out.Bytes()
}

// store verifies the file, writes it and describes it in the manifest.
func store(name string, file []byte, pages []page) {
	dec := ltx.NewDecoder(bytes.NewReader(file))
	check(dec.Verify())
	h, t := dec.Header(), dec.Trailer()
	check(os.WriteFile(filepath.Join(dir, name), file, 0o644))
	list := make([]string, len(pages))
	for i, p := range pages {
		list[i] = fmt.Sprintf("%d:%d", p.pgno, p.seed)
	}
	fmt.Fprintf(&manifest, "%s\t%d\t%d\t%d\t%s\t%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n",
		name, h.Flags, h.PageSize, h.Commit, h.MinTXID, h.MaxTXID, h.Timestamp, h.PreApplyChecksum,
		h.WALOffset, h.WALSize, h.WALSalt1, h.WALSalt2, h.NodeID,
		t.PostApplyChecksum, t.FileChecksum, strings.Join(list, ","))
}

func snapshots() {
	for size := uint32(512); size <= 65536; size *= 2 {
		pages := []page{{1, 0}, {2, 2}}
		if size <= 4096 {
			pages = append(pages, page{3, 2}, page{4, 1})
		}
		if size == 65536 {
			pages = append(pages, page{3, 2}) // noise
		}
		h := ltx.Header{PageSize: size, Commit: uint32(len(pages)), MinTXID: 1, MaxTXID: 3, Timestamp: 1700000000000}
		store(fmt.Sprintf("snapshot-%d.ltx", size), encode(h, pages, rolling(pages, size)), pages)
	}
}

func increments() {
	pre := ltx.ChecksumFlag | 0x0123456789abcdef
	pages := []page{{2, 3}, {3, 1}, {9, 5}}
	store("increment.ltx", encode(ltx.Header{
		PageSize: 1024, Commit: 10, MinTXID: 0x10, MaxTXID: 0x1f, Timestamp: -1, PreApplyChecksum: pre,
		WALOffset: 4152, WALSize: 12360, WALSalt1: 0xdeadbeef, WALSalt2: 0x01020304, NodeID: 0xfedcba9876543210,
	}, pages, ltx.ChecksumFlag|42), pages)
	store("no-pages.ltx", encode(ltx.Header{
		PageSize: 4096, Commit: 7, MinTXID: 2, MaxTXID: 2, PreApplyChecksum: pre,
	}, nil, ltx.ChecksumFlag|42), nil)
	store("dropped.ltx", encode(ltx.Header{
		PageSize: 4096, Commit: 0, MinTXID: 9, MaxTXID: 9, Timestamp: 5, PreApplyChecksum: pre,
	}, nil, ltx.ChecksumFlag), nil)
	store("around-lock-page.ltx", encode(ltx.Header{
		PageSize: 65536, Commit: 20000, MinTXID: 2, MaxTXID: 2, PreApplyChecksum: pre,
	}, []page{{16384, 2}, {16386, 0}}, ltx.ChecksumFlag|42), []page{{16384, 2}, {16386, 0}})
}

func untracked() {
	h := ltx.Header{Flags: ltx.HeaderFlagNoChecksum, PageSize: 512, Commit: 2, MinTXID: 1, MaxTXID: 1}
	pages := []page{{1, 0}, {2, 0}}
	store("untracked-snapshot.ltx", encode(h, pages, 0), pages)
	h.MinTXID, h.MaxTXID = 2, 2
	store("untracked-increment.ltx", encode(h, pages[1:], 0), pages[1:])
}

// compacted merges a snapshot of five pages, a transaction that shrinks it to three, and one that grows it to six.
func compacted() {
	const size = 512
	header := func(tx ltx.TXID, commit uint32, pre ltx.Checksum) ltx.Header {
		return ltx.Header{PageSize: size, Commit: commit, MinTXID: tx, MaxTXID: tx, Timestamp: int64(tx), PreApplyChecksum: pre, NodeID: 7}
	}
	first := []page{{1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}}
	second := []page{{1, 2}}
	afterSecond := []page{{1, 2}, {2, 1}, {3, 1}}
	third := []page{{1, 3}, {3, 3}, {4, 3}, {5, 3}, {6, 3}}
	afterThird := []page{{1, 3}, {2, 1}, {3, 3}, {4, 3}, {5, 3}, {6, 3}}
	inputs := [][]byte{
		encode(header(1, 5, 0), first, rolling(first, size)),
		encode(header(2, 3, rolling(first, size)), second, rolling(afterSecond, size)),
		encode(header(3, 6, rolling(afterSecond, size)), third, rolling(afterThird, size)),
	}
	store("compact-1.ltx", inputs[0], first)
	store("compact-2.ltx", inputs[1], second)
	store("compact-3.ltx", inputs[2], third)

	var out bytes.Buffer
	readers := make([]io.Reader, len(inputs))
	for i, input := range inputs {
		readers[i] = bytes.NewReader(input)
	}
	compactor, err := ltx.NewCompactor(&out, readers)
	check(err)
	check(compactor.Compact(context.Background()))
	store("compacted.ltx", out.Bytes(), afterThird)
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: gen DIRECTORY")
	}
	dir = os.Args[1]
	fmt.Fprintln(&manifest, "# name\tflags\tpage size\tcommit\tmin\tmax\ttimestamp\tpre-apply\twal offset\twal size\tsalt 1\tsalt 2\tnode\tpost-apply\tfile checksum\tpages as number:seed")
	snapshots()
	increments()
	untracked()
	compacted()
	check(os.WriteFile(filepath.Join(dir, "manifest.tsv"), []byte(manifest.String()), 0o644))
}
