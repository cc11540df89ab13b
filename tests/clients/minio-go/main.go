// What minio-go does with an S3 endpoint: uploads of known and unknown length, copies and compositions on the server,
// reads with seeks, checksums, uploads that were left behind. Environment and output are those of the other suites.
package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	suite = "minio-go"
	mib   = 1 << 20
	least = 5 * mib
)

var (
	ctx    = context.Background()
	client *minio.Client
	bucket = fmt.Sprintf("minio-go-%08x", rand.Uint32())
	failed bool
	folder string
)

func main() {
	at, err := url.Parse(os.Getenv("S3_ENDPOINT"))
	if err != nil || at.Host == "" {
		fmt.Fprintln(os.Stderr, "S3_ENDPOINT is no URL")
		os.Exit(2)
	}
	transport, err := minio.DefaultTransport(at.Scheme == "https")
	if err == nil {
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		client, err = minio.New(at.Host, &minio.Options{
			Creds:           credentials.NewStaticV4(os.Getenv("S3_ACCESS"), os.Getenv("S3_SECRET"), ""),
			Secure:          at.Scheme == "https",
			Region:          os.Getenv("S3_REGION"),
			BucketLookup:    minio.BucketLookupPath,
			TrailingHeaders: !lacks("trailers"),
			Transport:       http.RoundTripper(transport),
		})
	}
	if err == nil {
		folder, err = os.MkdirTemp("", "sealgate-minio-go")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	defer os.RemoveAll(folder)

	check("make a bucket", "", func() error {
		return client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{Region: os.Getenv("S3_REGION")})
	})
	for _, size := range []int{0, 1, 65480, least - 1, least, least + 1, 12*mib + 3} {
		for _, part := range []uint64{least, 6 * mib} {
			check(fmt.Sprintf("FPutObject and FGetObject of %d bytes in parts of %d", size, part), "", func() error { return file(size, part) })
		}
		check(fmt.Sprintf("PutObject of %d bytes, length unknown", size), "", func() error { return stream(size, false) })
		check(fmt.Sprintf("PutObject of %d bytes, length unknown, parts side by side", size), "", func() error { return stream(size, true) })
	}
	if os.Getenv("BIG") == "1" {
		check("FPutObject and FGetObject of 200 MiB", "", func() error { return file(200*mib, 16*mib) })
	}
	check("GetObject: seeks, ReadAt, ranges", "", seeks)
	check("ComposeObject of whole objects and ranges", "", compose)
	check("CopyObject with new metadata", "", copied)
	for name, kind := range map[string]minio.ChecksumType{
		"CRC32": minio.ChecksumCRC32, "CRC32C": minio.ChecksumCRC32C, "SHA1": minio.ChecksumSHA1,
		"SHA256": minio.ChecksumSHA256, "CRC64NVME": minio.ChecksumCRC64NVME,
	} {
		check("checksum "+name+" in one PUT and in parts", "checksums trailers part-checksums", func() error { return checksums(kind) })
	}
	check("ListIncompleteUploads, RemoveIncompleteUpload", "list-uploads", incomplete)
	check("an upload that breaks off leaves what was there", "", broken)
	check("GetObjectAttributes", "attributes part-checksums", attributes)
	check("remove everything", "", remove)
	if failed {
		os.RemoveAll(folder)
		os.Exit(1)
	}
}

func lacks(words string) bool {
	for _, word := range strings.Fields(words) {
		for _, lack := range strings.Fields(os.Getenv("S3_LACKS")) {
			if word == lack {
				return true
			}
		}
	}
	return false
}

func check(name, needs string, test func() error) {
	if lacks(needs) {
		fmt.Printf("skip %s: %s (this store lacks: %s)\n", suite, name, needs)
	} else if err := test(); err != nil {
		failed = true
		fmt.Printf("not ok %s: %s: %s\n", suite, name, strings.ReplaceAll(err.Error(), "\n", " "))
	} else {
		fmt.Printf("ok %s: %s\n", suite, name)
	}
}

func noise(size int) []byte {
	body := make([]byte, size)
	rand.Read(body)
	return body
}

// etagOf is the MD5 of the parts' MD5s and their number.
func etagOf(body []byte, part int) string {
	var sums []byte
	count := 0
	for at := 0; at < len(body) || count == 0; at += part {
		sum := md5.Sum(body[at:min(at+part, len(body))])
		sums = append(sums, sum[:]...)
		count++
	}
	whole := md5.Sum(sums)
	return fmt.Sprintf("%s-%d", hex.EncodeToString(whole[:]), count)
}

// holds compares the object with its body in every way that shows it.
func holds(key string, body []byte, etag string) error {
	info, err := client.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return err
	}
	if info.Size != int64(len(body)) || (etag != "" && info.ETag != etag) {
		return fmt.Errorf("HEAD of %s: %d bytes, ETag %s, expected %d, %s", key, info.Size, info.ETag, len(body), etag)
	}
	got, err := client.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer got.Close()
	read, err := io.ReadAll(got)
	if err != nil {
		return err
	}
	if !bytes.Equal(read, body) {
		return fmt.Errorf("body of %s: %d bytes differ from the %d expected", key, len(read), len(body))
	}
	for listed := range client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: key}) {
		if listed.Err != nil {
			return listed.Err
		}
		if listed.Key == key && (listed.Size != int64(len(body)) || strings.Trim(listed.ETag, `"`) != info.ETag) {
			return fmt.Errorf("listing of %s: %d bytes, ETag %s", key, listed.Size, listed.ETag)
		}
	}
	return nil
}

func file(size int, part uint64) error {
	body := noise(size)
	in, out := filepath.Join(folder, "in"), filepath.Join(folder, "out")
	if err := os.WriteFile(in, body, 0o600); err != nil {
		return err
	}
	info, err := client.FPutObject(ctx, bucket, "file", in, minio.PutObjectOptions{PartSize: part, UserMetadata: map[string]string{"Color": "blue"}})
	if err != nil {
		return err
	}
	sum := md5.Sum(body)
	etag := hex.EncodeToString(sum[:])
	if uint64(size) > part {
		etag = etagOf(body, int(part))
	}
	if info.ETag != etag || info.Size != int64(size) {
		return fmt.Errorf("uploaded %d bytes with ETag %s, expected %d, %s", info.Size, info.ETag, size, etag)
	}
	if err := holds("file", body, etag); err != nil {
		return err
	}
	if err := client.FGetObject(ctx, bucket, "file", out, minio.GetObjectOptions{}); err != nil {
		return err
	}
	read, err := os.ReadFile(out)
	if err == nil && !bytes.Equal(read, body) {
		err = errors.New("the file that came back differs")
	}
	return err
}

// unknown hides that a reader could say more than Read.
type unknown struct{ io.Reader }

func stream(size int, parallel bool) error {
	body := noise(size)
	options := minio.PutObjectOptions{PartSize: least, ConcurrentStreamParts: parallel, NumThreads: 3}
	info, err := client.PutObject(ctx, bucket, "stream", unknown{bytes.NewReader(body)}, -1, options)
	if err != nil {
		return err
	}
	return holds("stream", body, info.ETag)
}

func seeks() error {
	body := noise(17*mib + 77)
	if _, err := client.PutObject(ctx, bucket, "seek", bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{PartSize: least}); err != nil {
		return err
	}
	object, err := client.GetObject(ctx, bucket, "seek", minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer object.Close()
	buffer := make([]byte, 70000)
	for _, at := range []int{0, 65479, 65480, least - 3, least, least + 1, 2*least - 70000, 3 * least, len(body) - 70000} {
		if _, err := object.Seek(int64(at), io.SeekStart); err != nil {
			return err
		}
		if _, err := io.ReadFull(object, buffer); err != nil {
			return fmt.Errorf("at %d: %w", at, err)
		}
		if !bytes.Equal(buffer, body[at:at+len(buffer)]) {
			return fmt.Errorf("after a seek to %d: other bytes", at)
		}
		if _, err := object.ReadAt(buffer[:100], int64(at)); err != nil || !bytes.Equal(buffer[:100], body[at:at+100]) {
			return fmt.Errorf("ReadAt %d: %v, or other bytes", at, err)
		}
	}
	for range 30 {
		first := rand.Intn(len(body))
		last := first + rand.Intn(len(body)-first)
		options := minio.GetObjectOptions{}
		if err := options.SetRange(int64(first), int64(last)); err != nil {
			return err
		}
		part, err := client.GetObject(ctx, bucket, "seek", options)
		if err != nil {
			return err
		}
		read, err := io.ReadAll(part)
		part.Close()
		if err != nil || !bytes.Equal(read, body[first:last+1]) {
			return fmt.Errorf("bytes %d-%d: %v, or other bytes", first, last, err)
		}
	}
	return nil
}

func compose() error {
	one, two, three := noise(least+5), noise(7*mib), noise(100)
	for key, body := range map[string][]byte{"one": one, "two": two, "three": three} {
		if _, err := client.PutObject(ctx, bucket, key, bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{PartSize: least}); err != nil {
			return err
		}
	}
	info, err := client.ComposeObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: "composed"},
		minio.CopySrcOptions{Bucket: bucket, Object: "one"},
		minio.CopySrcOptions{Bucket: bucket, Object: "two", MatchRange: true, Start: 1000, End: 1000 + least},
		minio.CopySrcOptions{Bucket: bucket, Object: "three"})
	if err != nil {
		return err
	}
	return holds("composed", bytes.Join([][]byte{one, two[1000 : 1001+least], three}, nil), info.ETag)
}

func copied() error {
	body := noise(11 * mib)
	if _, err := client.PutObject(ctx, bucket, "origin", bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{PartSize: least}); err != nil {
		return err
	}
	destination := minio.CopyDestOptions{Bucket: bucket, Object: "copy", ReplaceMetadata: true, UserMetadata: map[string]string{"Color": "green"}}
	if _, err := client.CopyObject(ctx, destination, minio.CopySrcOptions{Bucket: bucket, Object: "origin"}); err != nil {
		return err
	}
	info, err := client.StatObject(ctx, bucket, "copy", minio.StatObjectOptions{})
	if err != nil {
		return err
	}
	if len(info.UserMetadata) != 1 || info.UserMetadata["Color"] != "green" {
		return fmt.Errorf("metadata of the copy: %v", info.UserMetadata)
	}
	return holds("copy", body, info.ETag)
}

func checksums(kind minio.ChecksumType) error {
	for _, size := range []int{100, 11 * mib} {
		body := noise(size)
		options := minio.PutObjectOptions{PartSize: least, Checksum: kind}
		if _, err := client.PutObject(ctx, bucket, "sum", bytes.NewReader(body), int64(size), options); err != nil {
			return err
		}
		info, err := client.StatObject(ctx, bucket, "sum", minio.StatObjectOptions{Checksum: true})
		if err != nil {
			return err
		}
		value := map[minio.ChecksumType]string{
			minio.ChecksumCRC32: info.ChecksumCRC32, minio.ChecksumCRC32C: info.ChecksumCRC32C, minio.ChecksumSHA1: info.ChecksumSHA1,
			minio.ChecksumSHA256: info.ChecksumSHA256, minio.ChecksumCRC64NVME: info.ChecksumCRC64NVME,
		}[kind]
		if value == "" {
			return fmt.Errorf("%d bytes: HEAD has no checksum", size)
		}
		if size == 100 {
			if expected := kind.ChecksumBytes(body); value != expected.Encoded() {
				return fmt.Errorf("%d bytes: HEAD says %s, expected %s", size, value, expected.Encoded())
			}
		}
		object, err := client.GetObject(ctx, bucket, "sum", minio.GetObjectOptions{Checksum: true})
		if err != nil {
			return err
		}
		read, err := io.ReadAll(object)
		object.Close()
		if err != nil || !bytes.Equal(read, body) {
			return fmt.Errorf("%d bytes: %v, or other bytes", size, err)
		}
	}
	return nil
}

func incomplete() error {
	core := minio.Core{Client: client}
	for range 3 {
		id, err := core.NewMultipartUpload(ctx, bucket, "left/behind", minio.PutObjectOptions{})
		if err != nil {
			return err
		}
		body := noise(least)
		if _, err := core.PutObjectPart(ctx, bucket, "left/behind", id, 1, bytes.NewReader(body), least, minio.PutObjectPartOptions{}); err != nil {
			return err
		}
		if _, err := core.PutObjectPart(ctx, bucket, "left/behind", id, 2, strings.NewReader("short"), 5, minio.PutObjectPartOptions{}); err != nil {
			return err
		}
	}
	count := func() (number int, size int64, err error) {
		for upload := range client.ListIncompleteUploads(ctx, bucket, "left/", true) {
			if upload.Err != nil {
				return 0, 0, upload.Err
			}
			number++
			parts, err := core.ListObjectParts(ctx, bucket, upload.Key, upload.UploadID, 0, 1000)
			if err != nil {
				return 0, 0, err
			}
			for _, part := range parts.ObjectParts {
				size += part.Size
			}
		}
		return number, size, nil
	}
	number, size, err := count()
	if err != nil {
		return err
	}
	if number != 3 || size != 3*(least+5) {
		return fmt.Errorf("%d uploads of %d bytes are listed, expected 3 of %d", number, size, 3*(least+5))
	}
	if err := client.RemoveIncompleteUpload(ctx, bucket, "left/behind"); err != nil {
		return err
	}
	if number, _, err = count(); err == nil && number != 0 {
		err = fmt.Errorf("%d uploads are left", number)
	}
	return err
}

// short gives fewer bytes than it promised.
type short struct{ left int }

func (s *short) Read(buffer []byte) (int, error) {
	if s.left == 0 {
		return 0, errors.New("the source broke")
	}
	size := min(len(buffer), s.left)
	s.left -= size
	return size, nil
}

func broken() error {
	body := noise(100)
	if _, err := client.PutObject(ctx, bucket, "broken", bytes.NewReader(body), 100, minio.PutObjectOptions{}); err != nil {
		return err
	}
	for _, size := range []int64{12 * mib, -1} {
		if _, err := client.PutObject(ctx, bucket, "broken", &short{11 * mib}, size, minio.PutObjectOptions{PartSize: least}); err == nil {
			return errors.New("the upload did not fail")
		}
		if err := holds("broken", body, ""); err != nil {
			return err
		}
	}
	return nil
}

func attributes() error {
	body := noise(11 * mib)
	if _, err := client.PutObject(ctx, bucket, "attributes", bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{PartSize: least, Checksum: minio.ChecksumSHA256}); err != nil {
		return err
	}
	found, err := client.GetObjectAttributes(ctx, bucket, "attributes", minio.ObjectAttributesOptions{})
	if err != nil {
		return err
	}
	if found.ObjectSize != len(body) || found.ObjectParts.PartsCount != 3 || len(found.ObjectParts.Parts) != 3 {
		return fmt.Errorf("%d bytes, %d parts, %d listed", found.ObjectSize, found.ObjectParts.PartsCount, len(found.ObjectParts.Parts))
	}
	if etag := etagOf(body, least); strings.Trim(found.ETag, `"`) != etag {
		return fmt.Errorf("ETag %s, expected %s", found.ETag, etag)
	}
	return nil
}

func remove() error {
	for one := range client.RemoveObjects(ctx, bucket, client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true}), minio.RemoveObjectsOptions{}) {
		return one.Err
	}
	return client.RemoveBucket(ctx, bucket)
}
