package tensorboard

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/peftconv/peftconv/peft/train"
)

// definitions are the fields that TensorBoard reads, as its event.proto, summary.proto, tensor.proto and
// tensor_shape.proto number them: a line a message, of NAME=NUMBER:TYPE.
const definitions = `
Event wall_time=1:double step=2:int64 file_version=3:string summary=5:Summary session_log=7:SessionLog
SessionLog status=1:int32 checkpoint_path=2:string msg=3:string
Summary value=1:[]Value
Value tag=1:string simple_value=2:float tensor=8:TensorProto metadata=9:SummaryMetadata node_name=7:string
SummaryMetadata plugin_data=1:PluginData display_name=2:string summary_description=3:string data_class=4:int32
PluginData plugin_name=1:string content=2:bytes
TensorProto dtype=1:int32 tensor_shape=2:TensorShapeProto version_number=3:int32 string_val=8:[]bytes
TensorShapeProto dim=2:[]Dim unknown_rank=3:bool
Dim size=1:int64 name=2:string
`

// messageOf is the definition of Event.
func messageOf(t *testing.T) protoreflect.MessageDescriptor {
	t.Helper()
	kinds := map[string]descriptorpb.FieldDescriptorProto_Type{
		"double": descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, "float": descriptorpb.FieldDescriptorProto_TYPE_FLOAT,
		"int64": descriptorpb.FieldDescriptorProto_TYPE_INT64, "int32": descriptorpb.FieldDescriptorProto_TYPE_INT32,
		"bool": descriptorpb.FieldDescriptorProto_TYPE_BOOL, "string": descriptorpb.FieldDescriptorProto_TYPE_STRING,
		"bytes": descriptorpb.FieldDescriptorProto_TYPE_BYTES,
	}
	file := &descriptorpb.FileDescriptorProto{Name: proto.String("event.proto"), Package: proto.String("tensorboard"),
		Syntax: proto.String("proto3")}
	for line := range strings.Lines(strings.TrimSpace(definitions)) {
		words := strings.Fields(line)
		m := &descriptorpb.DescriptorProto{Name: &words[0]}
		for _, word := range words[1:] {
			name, rest, _ := strings.Cut(word, "=")
			number, kind, _ := strings.Cut(rest, ":")
			f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: new(int32),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
			fmt.Sscan(number, f.Number)
			if one, ok := strings.CutPrefix(kind, "[]"); ok {
				f.Label, kind = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum(), one
			}
			if typ, ok := kinds[kind]; ok {
				f.Type = typ.Enum()
			} else {
				f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String(".tensorboard."+kind)
			}
			m.Field = append(m.Field, f)
		}
		file.MessageType = append(file.MessageType, m)
	}
	d, err := protodesc.NewFile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d.Messages().ByName("Event")
}

// read is the events of a file, after their checksums are checked.
func read(t *testing.T, path string) (events []*dynamicpb.Message) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kind := messageOf(t)
	sum := func(b []byte) uint32 {
		c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
		return ((c >> 15) | (c << 17)) + 0xa282ead8
	}
	for len(data) > 0 {
		n := binary.LittleEndian.Uint64(data)
		body := data[12 : 12+n]
		if binary.LittleEndian.Uint32(data[8:]) != sum(data[:8]) || binary.LittleEndian.Uint32(data[12+n:]) != sum(body) {
			t.Fatalf("event %d: a wrong checksum", len(events))
		}
		e := dynamicpb.NewMessage(kind)
		if err := proto.Unmarshal(body, e); err != nil {
			t.Fatal(err)
		}
		if unknown := unknownIn(e); unknown != "" {
			t.Fatalf("event %d: a field of %s that TensorBoard has not", len(events), unknown)
		}
		events, data = append(events, e), data[16+n:]
	}
	return events
}

// unknownIn names a message with fields that are not defined, "" for none.
func unknownIn(m protoreflect.Message) (name string) {
	if len(m.GetUnknown()) > 0 {
		return string(m.Descriptor().Name())
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				name += unknownIn(v.List().Get(i).Message())
			}
		default:
			name += unknownIn(v.Message())
		}
		return true
	})
	return name
}

// texts are the events as texts, without their times.
func texts(events []*dynamicpb.Message) (all []string) {
	for _, e := range events {
		e.Clear(e.Descriptor().Fields().ByName("wall_time"))
		all = append(all, strings.ReplaceAll(e.String(), "  ", " "))
	}
	return all
}

// write writes a run.
func write(dir string, start train.Start, from, to int) *Writer {
	now := time.Unix(1_700_000_000, 250_000_000).Add(time.Duration(from) * time.Second)
	w := &Writer{Dir: dir, Text: "*about*", Now: func() time.Time { return now }}
	w.Begin(start)
	if from == 1 {
		w.Evaluated(train.Evaluation{Loss: 5, Base: true})
		w.Sampled(train.Sample{Prompt: "a", Text: "b\n\xff*c*", Base: true})
	}
	for step := from; step <= to; step++ {
		w.Step(train.Progress{Step: step, Loss: 2.5, LR: 0.5, GradNorm: 0.25, Tokens: 64, StepTokens: 32, Targets: 16,
			Seconds: 0.5, RSS: 1024})
	}
	return w
}

// TestEvents reads a run back by TensorBoard's definitions.
func TestEvents(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs", "a")
	if has, err := Has(dir); has || err != nil {
		t.Fatal(has, err)
	}
	w := write(dir, train.Start{Steps: 4}, 1, 2)
	accuracy := 0.75
	w.Evaluated(train.Evaluation{Step: 2, Loss: 3, Accuracy: &accuracy})
	w.Sampled(train.Sample{Step: 2, Number: -1, Prompt: "a", Error: "no room"})
	path := filepath.Join(dir, fmt.Sprintf("events.out.tfevents.1700000001.peftconv.%d.0", os.Getpid()))
	events := read(t, path) // before it is closed, as after a kill
	wall := events[0].Get(events[0].Descriptor().Fields().ByName("wall_time")).Float()
	if has, err := Has(dir); !has || err != nil || wall != 1700000001.25 {
		t.Error(has, err, wall)
	}
	train := func(step int) string {
		return fmt.Sprintf(`step:%d summary:{value:{tag:"train/loss" simple_value:2.5} value:{tag:"train/learning_rate" `+
			`simple_value:0.5} value:{tag:"train/grad_norm" simple_value:0.25} value:{tag:"train/epoch" simple_value:0} `+
			`value:{tag:"train/tokens" simple_value:64} value:{tag:"train/tokens_with_loss" simple_value:16} `+
			`value:{tag:"train/memory_bytes" simple_value:1024} value:{tag:"train/tokens_per_second" simple_value:64}}`, step)
	}
	sample := func(tag, text string) string {
		return fmt.Sprintf(`summary:{value:{tag:"%s" tensor:{dtype:7 tensor_shape:{} string_val:"%s"} metadata:{`+
			`plugin_data:{plugin_name:"text"}}}}`, tag, text)
	}
	want := []string{
		`file_version:"brain.Event:2"`, sample("run", "*about*"), `summary:{value:{tag:"eval/loss" simple_value:5}}`,
		sample("samples/1", `    a\n\n    b\n    `+"\uFFFD"+`*c*`), train(1), train(2),
		`step:2 summary:{value:{tag:"eval/loss" simple_value:3} value:{tag:"eval/accuracy" simple_value:0.75}}`,
		`step:2 ` + sample("samples/asked", `    a\n\n    no room`),
	}
	got := texts(events)
	for i := range want {
		// The text form has one space or two between fields, and zeros only of fields with presence.
		w := strings.ReplaceAll(strings.ReplaceAll(want[i], "  ", " "), " simple_value:0}", "}")
		if i >= len(got) || got[i] != w {
			t.Errorf("event %d is\n%s\nwant\n%s", i, strings.Join(got[min(i, len(got)):min(i+1, len(got))], ""), w)
		}
	}
}

// TestResume: a run that goes on begins a file of its own, which voids what came after its checkpoint.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	write(dir, train.Start{Steps: 9}, 1, 7).Close()
	write(dir, train.Start{Steps: 9, Step: 5}, 6, 9).Close()
	name := fmt.Sprintf("events.out.tfevents.1700000006.peftconv.%d.0", os.Getpid())
	second := texts(read(t, filepath.Join(dir, name)))
	if len(second) != 6 || second[1] != "step:6 session_log:{status:1}" ||
		!strings.HasPrefix(second[2], "step:6 summary") {
		t.Errorf("%q", second)
	}
}

// TestRecord compares checksums with those of RFC 3720, masked.
func TestRecord(t *testing.T) {
	const crcOfNothing = 0xa282ead8
	if got := masked(nil); got != crcOfNothing {
		t.Errorf("%#x", got)
	}
	// RFC 3720, B.4: 32 bytes of zeros have the CRC-32C 0x8a9136aa.
	sum := uint32(0x8a9136aa)
	if got, want := masked(make([]byte, 32)), (sum>>15|sum<<17)+crcOfNothing; got != want {
		t.Errorf("%#x, want %#x", got, want)
	}
}

// TestFailed: a directory that cannot be made is reported once; a run without steps leaves nothing.
func TestFailed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var told []error
	w := &Writer{Dir: filepath.Join(file, "x"), Failed: func(err error) { told = append(told, err) }}
	w.Begin(train.Start{})
	if len(told) > 0 {
		t.Errorf("before the first step: %v", told)
	}
	for step := range 3 {
		w.Step(train.Progress{Step: step + 1})
	}
	if len(told) != 1 || !strings.Contains(told[0].Error(), w.Dir) {
		t.Errorf("%v", told)
	}
}
