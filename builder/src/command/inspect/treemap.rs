//! The files of an initramfs as areas: a picture of what it is made of.

use std::collections::BTreeMap;

use archive::listing::Listed;
use base::escape::escape;
use indicatif::BinaryBytes;

use crate::svg::{COLOURS, Svg, squarified};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 600.0;
/// Areas in a directory that are drawn one by one; the rest is one.
const AREAS: usize = 200;

/// Draws them: an area for each directory at the top, in it one for each file, of the size of its content before compression.
pub fn draw(name: &str, files: &[Listed]) -> String {
    let mut groups: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for Listed { record, .. } in files {
        let Some(size) = record.size.filter(|size| *size > 0) else { continue };
        let path = escape(&record.path.bytes()).to_string();
        groups.entry(group_of(&path)).or_default().push((path, size));
    }
    let sum = |files: &[(String, u64)]| files.iter().map(|(_, size)| size).sum::<u64>();
    let mut groups: Vec<(String, Vec<(String, u64)>)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, files)| std::cmp::Reverse(sum(files)));
    let total: u64 = groups.iter().map(|(_, files)| sum(files)).sum();
    let mut svg = Svg::new(WIDTH, HEIGHT + Svg::LINE);
    svg.label([0.0, 0.0, WIDTH, Svg::LINE], &format!("{name}: {} of content", BinaryBytes(total)));
    let sizes: Vec<f64> = groups.iter().map(|(_, files)| sum(files) as f64).collect();
    let places = squarified(&sizes, [0.0, Svg::LINE, WIDTH, HEIGHT]);
    for (number, ((group, mut files), place)) in groups.into_iter().zip(places).enumerate() {
        let colour = COLOURS.get(number % COLOURS.len()).copied().unwrap_or_default();
        let heading = format!("{group}  {}", BinaryBytes(sum(&files)));
        svg.rectangle(place, colour, &heading);
        svg.label(place, &heading);
        let [x, y, width, height] = place;
        files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        if files.len() > AREAS {
            let rest = files.split_off(AREAS);
            files.push((format!("{} more files", rest.len()), sum(&rest)));
        }
        let sizes: Vec<f64> = files.iter().map(|(_, size)| *size as f64).collect();
        let inner = [x, y + Svg::LINE, width, (height - Svg::LINE).max(0.0)];
        for ((path, size), place) in files.iter().zip(squarified(&sizes, inner)) {
            svg.rectangle(place, colour, &format!("{path}\n{}", BinaryBytes(*size)));
            svg.label(place, path.rsplit('/').next().unwrap_or(path));
        }
    }
    svg.finish()
}

/// Returns the directory that a file counts to: two levels where there are as many, so that `usr` is not all there is.
fn group_of(path: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    if parts.is_empty() { "/".to_owned() } else { parts.into_iter().take(2).collect::<Vec<_>>().join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::manifest::{Name, Record, Type};

    #[test]
    fn every_file_has_an_area_and_a_title() {
        let file = |path: &str, size| Listed {
            segment: 0,
            record: Record {
                path: Name::new(path.as_bytes()),
                kind: Type::File,
                mode: 0,
                uid: 0,
                gid: 0,
                mtime: 0,
                size,
                sha256: None,
                target: None,
                device: None,
                hard_link: None,
            },
        };
        let mut files = vec![file("init", Some(1024)), file("usr/lib/a/<b>", Some(4096)), file("usr/lib/c", None)];
        let picture = draw("x.gz", &files);
        assert!(picture.contains("<title>usr/lib/a/&lt;b&gt;\n4.00 KiB</title>") && picture.contains("x.gz: 5.00 KiB"));
        assert_eq!(picture.matches("<rect ").count(), 1 + 2 + 2, "{picture}");
        files.extend((0..300).map(|number| file(&format!("etc/{number}"), Some(9))));
        assert!(draw("x", &files).contains("100 more files"));
        assert_eq!(draw("x", &[]), draw("x", &[]));
        assert_eq!([group_of("a"), group_of("a/b"), group_of("a/b/c/d")], ["/", "a", "a/b"]);
    }
}
