package pixembed_test

// The real server, with tiny models, for the tests of this package.

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pixembed"
)

// patience is for a machine under load; nothing is expected to take this long.
const patience = 2 * time.Minute

var (
	program string // pixembed-server
	models  string // a folder with the models "vit" (32 dimensions) and "small" (24 dimensions)
	address string // of a server of both, for every test that leaves it as it is
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	program = os.Getenv("PIXEMBED_SERVER")
	if program == "" {
		program = "../../build/release/bin/pixembed-server"
	}
	if _, err := os.Stat(program); err != nil {
		return 0, fmt.Errorf("the tests need a pixembed-server: build it, or name it in PIXEMBED_SERVER: %w", err)
	}
	folder, err := os.MkdirTemp("", "pixembed-go-test")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	models = folder
	if err := writeModels(folder); err != nil {
		return 0, err
	}
	shared, err := launch(bothModels()...)
	if err != nil {
		return 0, err
	}
	defer shared.kill()
	if address, err = shared.listens(); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func bothModels() []string {
	return []string{"--model=vit=" + filepath.Join(models, "vit"), "--model=small=" + filepath.Join(models, "small")}
}

// server is a pixembed-server that a test started.
type server struct {
	command *exec.Cmd
	address chan string   // what it listens on, once
	ended   chan struct{} // closed when it has ended; log and state are whole then
	log     []string
}

func launch(flags ...string) (*server, error) {
	flags = append(flags, "--cores=1") // models as small as these gain nothing from more
	if !slices.ContainsFunc(flags, func(flag string) bool { return strings.HasPrefix(flag, "--listen=") }) {
		flags = append(flags, "--listen=127.0.0.1:0")
	}
	s := &server{command: exec.Command(program, flags...), address: make(chan string, 1), ended: make(chan struct{})}
	// The server reads flags from PIXEMBED_<FLAG> too; the test alone shall say.
	s.command.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "PIXEMBED_")
	})
	output, err := s.command.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	go s.read(output)
	return s, nil
}

func (s *server) read(output io.Reader) {
	defer close(s.ended)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		s.log = append(s.log, lines.Text())
		if _, where, found := strings.Cut(lines.Text(), " serving on "); found {
			s.address <- strings.TrimSpace(where)
		}
	}
	_ = s.command.Wait() // ProcessState says it all
}

// listens gives its address once it serves, or its last words if it never will.
func (s *server) listens() (string, error) {
	select {
	case where := <-s.address:
		return where, nil
	case <-s.ended:
		return "", fmt.Errorf("the server does not serve: %s", strings.Join(s.log, "\n"))
	}
}

func (s *server) terminate() { _ = s.command.Process.Signal(syscall.SIGTERM) }

func (s *server) kill() {
	_ = s.command.Process.Kill()
	<-s.ended
}

// start is launch for a test, which it does not outlive.
func start(t *testing.T, flags ...string) (*server, string) {
	t.Helper()
	s, err := launch(flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	where, err := s.listens()
	if err != nil {
		t.Fatal(err)
	}
	return s, where
}

// connect makes a client without TLS that the test does not outlive.
func connect(t *testing.T, target string, options ...pixembed.Option) *pixembed.Client {
	t.Helper()
	client, err := pixembed.New(target, append([]pixembed.Option{pixembed.WithPlaintext()}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// picture is smooth colours, so that resampling and codecs have something to do; each seed another one.
func picture(width, height, seed int) *image.NRGBA {
	picture := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			wave := func(period float64) uint8 {
				return uint8(128 + 100*math.Sin(float64(x+7*seed)/period)*math.Cos(float64(y)/9))
			}
			picture.SetNRGBA(x, y, color.NRGBA{wave(5 + float64(seed%11)), wave(9), wave(17), 255})
		}
	}
	return picture
}

func pngOf(picture image.Image) []byte {
	var data bytes.Buffer
	if err := png.Encode(&data, picture); err != nil {
		panic(err)
	}
	return data.Bytes()
}

func jpegOf(picture image.Image) []byte {
	var data bytes.Buffer
	if err := jpeg.Encode(&data, picture, nil); err != nil {
		panic(err)
	}
	return data.Bytes()
}

// pictures are of different sizes.
var pictures = sync.OnceValue(func() [][]byte {
	all := make([][]byte, 40)
	for i := range all {
		all[i] = pngOf(picture(30+i, 20, i))
	}
	return all
})

// batch is so many pictures, which repeat after 40.
func batch(count int) []pixembed.Image {
	images := make([]pixembed.Image, count)
	for i := range images {
		images[i] = pixembed.Image{Data: pictures()[i%len(pictures())], ID: fmt.Sprint("image-", i)}
	}
	return images
}

// writeModels writes two tiny random ViTs as transformers saves them.
func writeModels(folder string) error {
	for name, hidden := range map[string]int{"vit": 32, "small": 24} {
		if err := writeModel(filepath.Join(folder, name), hidden, 48, 16); err != nil {
			return err
		}
	}
	return nil
}

func writeModel(folder string, hidden, size, patch int) error {
	const layers, heads = 2, 4
	files := map[string]any{
		"config.json": map[string]any{
			"architectures": []string{"ViTModel"}, "model_type": "vit", "hidden_act": "gelu",
			"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": layers,
			"num_attention_heads": heads, "image_size": size, "patch_size": patch, "num_channels": 3,
			"layer_norm_eps": 1e-12, "qkv_bias": true, "dtype": "float32",
		},
		"preprocessor_config.json": map[string]any{
			"image_processor_type": "ViTImageProcessor", "do_resize": true,
			"size": map[string]int{"height": size, "width": size}, "resample": 2,
			"do_rescale": true, "rescale_factor": 1.0 / 255, "do_normalize": true,
			"image_mean": []float64{0.5, 0.5, 0.5}, "image_std": []float64{0.5, 0.5, 0.5},
		},
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		text, err := json.Marshal(content)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			return err
		}
	}
	weights := newWeights(uint64(hidden))
	weights.random("embeddings.cls_token", 1, 1, hidden)
	weights.random("embeddings.position_embeddings", 1, 1+size/patch*size/patch, hidden)
	weights.linear("embeddings.patch_embeddings.projection", hidden, 3, patch, patch)
	for layer := range layers {
		prefix := fmt.Sprintf("encoder.layer.%d.", layer)
		weights.norm(prefix+"layernorm_before", hidden)
		for _, role := range []string{"query", "key", "value"} {
			weights.linear(prefix+"attention.attention."+role, hidden, hidden)
		}
		weights.linear(prefix+"attention.output.dense", hidden, hidden)
		weights.norm(prefix+"layernorm_after", hidden)
		weights.linear(prefix+"intermediate.dense", 2*hidden, hidden)
		weights.linear(prefix+"output.dense", hidden, 2*hidden)
	}
	weights.norm("layernorm", hidden)
	return os.WriteFile(filepath.Join(folder, "model.safetensors"), weights.bytes(), 0o644)
}

// weights is a safetensors file: a header in JSON, then the numbers.
type weights struct {
	source *rand.Rand
	header map[string]any
	data   []byte
}

func newWeights(seed uint64) *weights {
	return &weights{
		source: rand.New(rand.NewPCG(seed, seed)),
		header: map[string]any{"__metadata__": map[string]string{"format": "pt"}},
	}
}

func (w *weights) add(name string, value func() float64, shape ...int) {
	begin, count := len(w.data), 1
	for _, side := range shape {
		count *= side
	}
	for range count {
		w.data = binary.LittleEndian.AppendUint32(w.data, math.Float32bits(float32(value())))
	}
	w.header[name] = map[string]any{"dtype": "F32", "shape": shape, "data_offsets": []int{begin, len(w.data)}}
}

func (w *weights) random(name string, shape ...int) {
	w.add(name, func() float64 { return 0.1 * w.source.NormFloat64() }, shape...)
}

func (w *weights) linear(name string, outputs int, inputs ...int) {
	w.random(name+".weight", append([]int{outputs}, inputs...)...)
	w.random(name+".bias", outputs)
}

func (w *weights) norm(name string, size int) {
	w.add(name+".weight", func() float64 { return 1 }, size)
	w.add(name+".bias", func() float64 { return 0 }, size)
}

func (w *weights) bytes() []byte {
	header, err := json.Marshal(w.header)
	if err != nil {
		panic(err)
	}
	header = append(header, bytes.Repeat([]byte(" "), -len(header)&7)...)
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header, w.data)
}

// withOrientation adds EXIF data to a PNG.
func withOrientation(data []byte, orientation byte) []byte {
	// A TIFF of one directory with one entry: tag 0x112, one SHORT.
	tiff := append([]byte("II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00"), orientation, 0, 0, 0, 0, 0, 0, 0)
	chunk := append([]byte("eXIf"), tiff...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk))
	const behindHeader = 8 + 25 // the signature and IHDR
	length := binary.BigEndian.AppendUint32(nil, uint32(len(tiff)))
	return slices.Concat(data[:behindHeader], length, chunk, data[behindHeader:])
}
