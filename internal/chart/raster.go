package chart

import (
	"bytes"
	"image"
	stdcolor "image/color"
	"image/draw"
	"image/png"
	"math"
	"slices"
	"strconv"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// pngScale is how many pixels of a PNG one of an SVG is.
const pngScale = 2

// PNG is the picture that SVG gives, in pixels of half the size.
func PNG(p Picture) ([]byte, error) {
	width, height := p.size(true)
	w, h := int(math.Ceil(width*pngScale)), int(math.Ceil(height*pngScale))
	on := &raster{image: image.NewRGBA(image.Rect(0, 0, w, h)), fonts: map[bool]font.Face{}}
	draw.Draw(on.image, on.image.Bounds(), image.NewUniform(rgba(back, 1)), image.Point{}, draw.Src)
	for bold, data := range map[bool][]byte{false: goregular.TTF, true: gobold.TTF} {
		parsed, err := opentype.Parse(data)
		if err != nil {
			return nil, err
		}
		face, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: textSize * pngScale, DPI: 72})
		if err != nil {
			return nil, err
		}
		on.fonts[bold] = face
	}
	p.draw(on, true)
	var out bytes.Buffer
	err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, on.image)
	return out.Bytes(), err
}

// raster draws pixels.
type raster struct {
	image *image.RGBA
	fonts map[bool]font.Face // bold or not
	shape [][]Point
}

// rgba is a colour with an opacity.
func rgba(c colour, opacity float64) stdcolor.NRGBA {
	value, _ := strconv.ParseUint(fixedColours[c][1:], 16, 32)
	return stdcolor.NRGBA{uint8(value >> 16), uint8(value >> 8), uint8(value), uint8(math.Round(255 * opacity))}
}

// fill paints the shape, which polygons have made, and begins another.
func (r *raster) fill(c stdcolor.NRGBA) {
	low, high := Point{math.Inf(1), math.Inf(1)}, Point{math.Inf(-1), math.Inf(-1)}
	for _, polygon := range r.shape {
		for _, p := range polygon {
			low, high = Point{min(low.X, p.X), min(low.Y, p.Y)}, Point{max(high.X, p.X), max(high.Y, p.Y)}
		}
	}
	within := image.Rect(int(math.Floor(low.X)), int(math.Floor(low.Y)), int(math.Ceil(high.X))+1,
		int(math.Ceil(high.Y))+1)
	if within = within.Intersect(r.image.Bounds()); len(r.shape) > 0 && !within.Empty() {
		z := vector.NewRasterizer(within.Dx(), within.Dy())
		for _, polygon := range r.shape {
			for i, p := range polygon {
				x, y := float32(p.X-float64(within.Min.X)), float32(p.Y-float64(within.Min.Y))
				if i == 0 {
					z.MoveTo(x, y)
				} else {
					z.LineTo(x, y)
				}
			}
			z.ClosePath()
		}
		z.Draw(r.image, within, image.NewUniform(c), image.Point{})
	}
	r.shape = r.shape[:0]
}

// polygon adds a polygon to the shape. All turn the same way, so that those that overlap add up.
func (r *raster) polygon(points ...Point) {
	area := 0.0
	for i := range points {
		q := points[(i+1)%len(points)]
		area += points[i].X*q.Y - q.X*points[i].Y
	}
	for i := range points {
		points[i].X, points[i].Y = points[i].X*pngScale, points[i].Y*pngScale
	}
	if area < 0 {
		slices.Reverse(points)
	}
	r.shape = append(r.shape, points)
}

// disc adds a disc to the shape.
func (r *raster) disc(x, y, radius float64) {
	const corners = 16
	points := make([]Point, corners)
	for i := range points {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / corners)
		points[i] = Point{x + radius*cos, y + radius*sin}
	}
	r.polygon(points...)
}

func (r *raster) line(points []Point, s stroke, _ string) {
	for _, part := range dashed(points, s.dash) {
		for i := 1; i < len(part); i++ {
			p, q := part[i-1], part[i]
			length := math.Hypot(q.X-p.X, q.Y-p.Y)
			if length == 0 {
				continue
			}
			dx, dy := (q.Y-p.Y)/length*s.width/2, -(q.X-p.X)/length*s.width/2
			r.polygon(Point{p.X + dx, p.Y + dy}, Point{q.X + dx, q.Y + dy}, Point{q.X - dx, q.Y - dy}, Point{p.X - dx, p.Y - dy})
			if i > 1 {
				r.disc(p.X, p.Y, s.width/2)
			}
		}
	}
	opacity := s.opacity
	if opacity == 0 {
		opacity = 1
	}
	r.fill(rgba(s.colour, opacity))
}

// dashed cuts a line into its dashes, which are lengths of line and of gap in turn; nil: it stays whole.
func dashed(points []Point, dash []float64) (parts [][]Point) {
	if len(dash) == 0 || len(points) == 0 {
		return [][]Point{points}
	}
	at, left, part := 0, dash[0], points[:1:1]
	for i := 1; i < len(points); i++ {
		p, q := points[i-1], points[i]
		for length := math.Hypot(q.X-p.X, q.Y-p.Y); length > left; length = math.Hypot(q.X-p.X, q.Y-p.Y) {
			p = Point{p.X + (q.X-p.X)*left/length, p.Y + (q.Y-p.Y)*left/length}
			if at%2 == 0 {
				parts = append(parts, append(part, p))
			}
			at++
			left, part = dash[at%len(dash)], []Point{p}
		}
		left -= math.Hypot(q.X-p.X, q.Y-p.Y)
		part = append(part, q)
	}
	if at%2 == 0 {
		parts = append(parts, part)
	}
	return parts
}

func (r *raster) rect(x, y, width, height float64, c colour, opacity float64, _ string) {
	r.polygon(Point{x, y}, Point{x + width, y}, Point{x + width, y + height}, Point{x, y + height})
	r.fill(rgba(c, opacity))
}

func (r *raster) dot(x, y, radius float64, c colour) {
	r.disc(x, y, radius)
	r.fill(rgba(c, 1))
}

func (r *raster) text(l label) {
	if l.text == "" {
		return
	}
	face := r.fonts[l.bold]
	width := font.MeasureString(face, l.text).Ceil()
	ascent, descent := face.Metrics().Ascent.Ceil(), face.Metrics().Descent.Ceil()
	words := image.NewAlpha(image.Rect(0, 0, width+1, ascent+descent))
	d := font.Drawer{Dst: words, Src: image.Opaque, Face: face, Dot: fixed.P(0, ascent)}
	d.DrawString(l.text)
	shift := map[anchor]int{atStart: 0, atMiddle: width / 2, atEnd: width}[l.anchor]
	x, y := int(math.Round(l.x*pngScale)), int(math.Round(l.y*pngScale))
	at := image.Pt(x-shift, y-ascent)
	if l.upwards {
		words, at = turned(words), image.Pt(x-ascent, y+shift-width-1)
	}
	target := words.Bounds().Add(at)
	draw.DrawMask(r.image, target, image.NewUniform(rgba(l.colour, 1)), image.Point{}, words, image.Point{}, draw.Over)
}

// turned is an image turned a quarter to the left.
func turned(from *image.Alpha) *image.Alpha {
	width, height := from.Bounds().Dx(), from.Bounds().Dy()
	to := image.NewAlpha(image.Rect(0, 0, height, width))
	for y := range height {
		for x := range width {
			to.SetAlpha(y, width-1-x, from.AlphaAt(x, y))
		}
	}
	return to
}
