// Verify_log reads a static log (C2SP tlog-tiles) with the Go project's own packages, and none of Heyan's code.
//
// It verifies the checkpoint's signature (sumdb/note), the inclusion of leaves, each with its entry where entries may
// be read, and consistency with an older checkpoint (sumdb/tlog). It prints one line of JSON and exits with 0 if
// everything holds, and says what does not on standard error and exits with 1.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o verify_log verify_log.go
//	verify_log -log https://localhost:18430/0 -vkey NAME+HASH+KEY -ca ca.pem -leaves 0,17
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height   = 8
	maxBytes = 20 << 20
)

var errAbsent = errors.New("not there")

type fetcher func(path string) ([]byte, error)

func main() {
	place := flag.String("log", "", "URL or folder of the log")
	vkey := flag.String("vkey", "", "verifier key of the log")
	old := flag.String("old", "", "file with an older checkpoint")
	leaves := flag.String("leaves", "", "indexes of leaves, separated by commas, or all")
	noEntries := flag.Bool("no-entries", false, "prove hashes only")
	ca := flag.String("ca", "", "certificate authority of the URL (PEM)")
	cert := flag.String("cert", "", "client certificate (PEM)")
	key := flag.String("key", "", "its key (PEM)")
	flag.Parse()
	result, err := verify(*place, *vkey, *old, *leaves, !*noEntries, *ca, *cert, *key)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(result)
}

type result struct {
	Origin     string `json:"origin"`
	Size       int64  `json:"size"`
	Root       string `json:"root"`
	Included   int    `json:"included"`
	Consistent bool   `json:"consistent"`
}

func verify(place, vkey, old, leaves string, entries bool, ca, cert, key string) (*result, error) {
	fetch, err := open(place, ca, cert, key)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	message, err := fetch("checkpoint")
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %v", err)
	}
	tree, err := checkpoint(message, verifier)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %v", err)
	}
	hashes := tlog.TileHashReader(tree, &reader{fetch})
	found := &result{Origin: verifier.Name(), Size: tree.N, Root: tree.Hash.String()}
	indexes, err := indexesOf(leaves, tree.N)
	if err != nil {
		return nil, err
	}
	bundles := map[int64][][]byte{}
	for _, index := range indexes {
		hash, err := leafHash(fetch, hashes, bundles, tree.N, index, entries)
		if err != nil {
			return nil, fmt.Errorf("leaf %d: %v", index, err)
		}
		proof, err := tlog.ProveRecord(tree.N, index, hashes)
		if err != nil {
			return nil, fmt.Errorf("leaf %d: %v", index, err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, hash); err != nil {
			return nil, fmt.Errorf("leaf %d: %v", index, err)
		}
		found.Included++
	}
	if old != "" {
		message, err := os.ReadFile(old)
		if err != nil {
			return nil, err
		}
		before, err := checkpoint(message, verifier)
		if err != nil {
			return nil, fmt.Errorf("older checkpoint: %v", err)
		}
		proof, err := tlog.ProveTree(tree.N, before.N, hashes)
		if err != nil {
			return nil, fmt.Errorf("consistency: %v", err)
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash); err != nil {
			return nil, fmt.Errorf("consistency: %v", err)
		}
		found.Consistent = true
	}
	return found, nil
}

func checkpoint(message []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(message, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("is not of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	hash, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, err
	}
	return tlog.Tree{N: size, Hash: hash}, nil
}

func indexesOf(text string, size int64) ([]int64, error) {
	var found []int64
	if text == "all" {
		for index := int64(0); index < size; index++ {
			found = append(found, index)
		}
		return found, nil
	}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		index, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil, err
		}
		found = append(found, index)
	}
	return found, nil
}

// leafHash is the hash of an entry, or without entries the one that the tree has of it.
func leafHash(fetch fetcher, hashes tlog.HashReader, bundles map[int64][][]byte, size, index int64, entries bool) (tlog.Hash, error) {
	if !entries {
		read, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return tlog.Hash{}, err
		}
		return read[0], nil
	}
	place := index >> height
	if bundles[place] == nil {
		width := int64(1 << height)
		if left := size - place<<height; left < width {
			width = left
		}
		data, err := fetchTile(fetch, tlog.Tile{H: height, L: -1, N: place, W: int(width)})
		if err != nil {
			return tlog.Hash{}, err
		}
		if bundles[place], err = split(data, width); err != nil {
			return tlog.Hash{}, err
		}
	}
	return tlog.RecordHash(bundles[place][index-place<<height]), nil
}

func split(data []byte, width int64) ([][]byte, error) {
	var entries [][]byte
	for int64(len(entries)) < width {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, errors.New("truncated entry bundle")
		}
		length := int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:2+length])
		data = data[2+length:]
	}
	return entries, nil
}

type reader struct {
	fetch fetcher
}

func (r *reader) Height() int { return height }

func (r *reader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r *reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		data, err := fetchTile(r.fetch, tile)
		if err != nil {
			return nil, err
		}
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s: truncated", path(tile))
		}
		found = append(found, data[:tile.W*tlog.HashSize])
	}
	return found, nil
}

// fetchTile reads a tile, or where a partial one is not there any more, the full one that begins with it.
func fetchTile(fetch fetcher, tile tlog.Tile) ([]byte, error) {
	data, err := fetch(path(tile))
	if errors.Is(err, errAbsent) && tile.W < 1<<height {
		tile.W = 1 << height
		data, err = fetch(path(tile))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path(tile), err)
	}
	return data, nil
}

// path is the name that C2SP tlog-tiles gives to a tile: without the height, and with entries for data.
func path(tile tlog.Tile) string {
	name := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
	if tile.L < 0 {
		name = "entries" + strings.TrimPrefix(name, "data")
	}
	return "tile/" + name
}

func open(place, ca, cert, key string) (fetcher, error) {
	if !strings.HasPrefix(place, "https://") && !strings.HasPrefix(place, "http://") {
		return func(path string) ([]byte, error) {
			data, err := os.ReadFile(filepath.Join(place, filepath.FromSlash(path)))
			if os.IsNotExist(err) {
				return nil, errAbsent
			}
			return data, err
		}, nil
	}
	config := &tls.Config{}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	return func(path string) ([]byte, error) {
		response, err := client.Get(place + "/" + path)
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		if response.StatusCode == http.StatusNotFound {
			return nil, errAbsent
		}
		if response.StatusCode != http.StatusOK {
			return nil, errors.New(response.Status)
		}
		return io.ReadAll(io.LimitReader(response.Body, maxBytes))
	}, nil
}
