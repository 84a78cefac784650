//! Small SVG pictures: rectangles and text, no more. Readable with any font, on light and dark ground, and the same bytes each time.

use std::fmt::Write as _;

/// A picture in the making.
#[derive(Debug)]
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Colours of areas that differ in kind: each can be told from its neighbours, also without colour vision (Okabe and Ito).
pub const COLOURS: [&str; 7] = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2"];
/// The colour of what is empty.
pub const EMPTY: &str = "#e4e4e4";

/// The end of a text that lies at its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// It ends there.
    End,
}

impl Svg {
    /// Height of a line of text.
    pub const LINE: f64 = 18.0;

    /// Returns an empty picture of this size.
    #[must_use]
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// Adds a rectangle; `title` is shown where the pointer rests on it.
    pub fn rectangle(&mut self, [x, y, width, height]: [f64; 4], colour: &str, title: &str) {
        let _ = write!(
            self.body,
            r##"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}" stroke="#ffffff"><title>{}</title></rect>"##,
            escape(title)
        );
        self.body.push('\n');
    }

    /// Adds a line of text whose base line is at `y`.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = if anchor == Anchor::Start { "start" } else { "end" };
        let _ = writeln!(self.body, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#, escape(text));
    }

    /// Adds a text into a rectangle, cut off with an ellipsis where it is too long, left out where not even that fits.
    pub fn label(&mut self, [x, y, width, height]: [f64; 4], text: &str) {
        // The mean width of a character of a sans-serif font of this size.
        const CHARACTER: f64 = 7.0;
        let room = ((width - 8.0) / CHARACTER).max(0.0);
        let length = text.chars().count();
        if height < Self::LINE || room < 3.0 {
            return;
        }
        let shown = if (length as f64) <= room {
            text.to_owned()
        } else {
            text.chars().take((room as usize).saturating_sub(1)).chain(['…']).collect()
        };
        self.text(x + 4.0, y + 14.0, Anchor::Start, &shown);
    }

    /// Returns the picture.
    #[must_use]
    pub fn finish(self) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"#222222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
        )
    }
}

/// Escapes what XML reads as markup, and leaves out what it forbids.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Divides an area among `sizes`, largest first, into rectangles that are as square as they can be (Bruls, Huizing and van Wijk, 2000).
/// Returns one for each, in their order. Sizes of nothing get nothing.
#[must_use]
pub fn squarified(sizes: &[f64], [x, y, width, height]: [f64; 4]) -> Vec<[f64; 4]> {
    let total: f64 = sizes.iter().sum();
    let mut places = Vec::with_capacity(sizes.len());
    if total <= 0.0 || width <= 0.0 || height <= 0.0 {
        return vec![[x, y, 0.0, 0.0]; sizes.len()];
    }
    let scale = width * height / total;
    let areas: Vec<f64> = sizes.iter().map(|size| size * scale).collect();
    let (mut x, mut y, mut width, mut height) = (x, y, width, height);
    let mut rest = areas.as_slice();
    while !rest.is_empty() {
        let side = width.min(height).max(f64::MIN_POSITIVE);
        // The worst ratio of the sides in a row of the first `count`.
        let worst = |count: usize| {
            let row = rest.get(..count).unwrap_or(rest);
            let sum: f64 = row.iter().sum();
            let ratio = |area: f64| (side * side * area / (sum * sum)).max(sum * sum / (side * side * area));
            row.iter().map(|area| ratio(area.max(f64::MIN_POSITIVE))).fold(0.0, f64::max)
        };
        let mut count = 1;
        while count < rest.len() && worst(count + 1) <= worst(count) {
            count += 1;
        }
        let (row, behind) = rest.split_at(count);
        let depth = row.iter().sum::<f64>() / side;
        let mut along = 0.0;
        for area in row {
            let length = if depth > 0.0 { area / depth } else { 0.0 };
            places.push(if width >= height { [x, y + along, depth, length] } else { [x + along, y, length, depth] });
            along += length;
        }
        if width >= height {
            (x, width) = (x + depth, (width - depth).max(0.0));
        } else {
            (y, height) = (y + depth, (height - depth).max(0.0));
        }
        rest = behind;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_data() {
        let mut svg = Svg::new(100.0, 20.0);
        svg.text(1.0, 2.0, Anchor::End, "<a>&\"\u{1b}");
        svg.label([0.0, 0.0, 60.0, 20.0], "a long name");
        svg.label([0.0, 0.0, 10.0, 20.0], "no room");
        let text = svg.finish();
        assert!(text.contains("&lt;a&gt;&amp;&quot;\u{fffd}") && text.contains(">a long…<"), "{text}");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n") && !text.contains("no room"));
    }

    #[test]
    fn areas_are_as_their_sizes_and_do_not_overlap() {
        let sizes = [60.0, 30.0, 20.0, 5.0, 5.0, 0.0];
        let places = squarified(&sizes, [10.0, 20.0, 300.0, 200.0]);
        for (size, [x, y, width, height]) in sizes.iter().zip(&places) {
            assert!((width * height - size * 500.0).abs() < 1e-6, "{size}: {width} x {height}");
            assert!(*x >= 10.0 && *y >= 20.0 && x + width <= 310.001 && y + height <= 220.001);
        }
        for (index, [x, y, width, height]) in places.iter().enumerate() {
            for [a, b, c, d] in &places[index + 1..] {
                let apart = x + width <= a + 1e-6 || a + c <= x + 1e-6 || y + height <= b + 1e-6 || b + d <= y + 1e-6;
                assert!(apart, "{places:?}");
            }
        }
        assert!(squarified(&[0.0, 0.0], [0.0, 0.0, 1.0, 1.0]).iter().all(|place| place[2] == 0.0));
        assert!(squarified(&[], [0.0, 0.0, 1.0, 1.0]).is_empty());
    }
}
