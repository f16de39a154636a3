package records

import (
	"bufio"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// mostValues is how many values a page of a Parquet file may have. Writers make pages of about a mebibyte.
const mostValues = 1 << 24

// checkPages reads the heads of all pages, and checks what the library takes on trust when it makes room for them.
func checkPages(p *parquet.File, file io.ReaderAt) error {
	if c, ok := file.(*countedAt); ok {
		file = c.from // the pages count when they are read
	}
	for i, group := range p.Metadata().RowGroups {
		for _, column := range group.Columns {
			m := &column.MetaData
			start := m.DataPageOffset
			if m.DictionaryPageOffset != 0 {
				start = m.DictionaryPageOffset
			}
			if start < 0 || m.TotalCompressedSize < 0 || start+m.TotalCompressedSize > p.Size() {
				return fmt.Errorf("row group %d, column %v: bytes %d to %d, the file has %d", i+1, m.PathInSchema, start,
					start+m.TotalCompressedSize, p.Size())
			}
			if err := checkChunk(io.NewSectionReader(file, start, m.TotalCompressedSize)); err != nil {
				return fmt.Errorf("row group %d, column %v: %w", i+1, m.PathInSchema, err)
			}
		}
	}
	return nil
}

// checkChunk checks the pages of a column in a row group.
func checkChunk(chunk *io.SectionReader) error {
	var protocol thrift.CompactProtocol
	buffer := bufio.NewReaderSize(nil, 1<<12)
	for at := int64(0); at < chunk.Size(); {
		count := &counter{from: io.NewSectionReader(chunk, at, chunk.Size()-at)}
		buffer.Reset(count)
		var head format.PageHeader
		if err := thrift.NewDecoder(protocol.NewReader(buffer)).Decode(&head); err != nil {
			return fmt.Errorf("the head of the page at byte %d: %w", at, err)
		}
		at += count.n - int64(buffer.Buffered())
		packed, size := int64(head.CompressedPageSize), int64(head.UncompressedPageSize)
		values := max(head.DataPageHeader.V.NumValues, head.DataPageHeaderV2.V.NumValues,
			head.DictionaryPageHeader.V.NumValues)
		switch {
		case packed < 0 || packed > chunk.Size()-at:
			return fmt.Errorf("a page has %d bytes, there is room for %d", packed, chunk.Size()-at)
		case size < 0 || size > maxRecord || size > freeBytes && size/mostExpands > packed:
			return fmt.Errorf("a page of %d bytes says that it becomes %d, more than is believed", packed, size)
		case values > mostValues:
			return fmt.Errorf("a page says that it has %d values, expected at most %d", values, mostValues)
		}
		at += packed
	}
	return nil
}
