//! Finds the columns of a page and the order they are read in.

use super::segments::Segment;

/// Columns within columns: more than any page has.
const MAX_DEPTH: u32 = 4;

/// Fewer lines than this side by side are no columns.
const MIN_LINES: usize = 3;

/// The segments in reading order, in parts that are each read from top to bottom.
pub(super) fn parts(segments: Vec<Segment>) -> Vec<Vec<Segment>> {
    let mut parts = Vec::new();
    order(segments, 0, &mut parts);
    parts
}

fn order(segments: Vec<Segment>, depth: u32, parts: &mut Vec<Vec<Segment>>) {
    let gutter = if depth < MAX_DEPTH {
        Gutter::find(&segments)
    } else {
        None
    };
    let Some(gutter) = gutter else {
        if !segments.is_empty() {
            parts.push(segments);
        }
        return;
    };
    // What crosses the gutter (a title, a wide figure) ends the columns above it and begins those below.
    let mut across = Vec::new();
    let mut band = Vec::new();
    for segment in segments {
        if gutter.is_beside(&segment) {
            band.push(segment);
        } else {
            gutter.close(&mut band, &mut across, depth, parts);
            across.push(segment);
        }
    }
    gutter.close(&mut band, &mut across, depth, parts);
    if !across.is_empty() {
        parts.push(across);
    }
}

/// The white between two columns.
struct Gutter {
    left: f64,
    right: f64,
}

impl Gutter {
    fn find(segments: &[Segment]) -> Option<Self> {
        if segments.len() < 2 * MIN_LINES {
            return None;
        }
        let gutter = Self::candidate(segments)?;
        let (left, right): (Vec<_>, Vec<_>) = segments
            .iter()
            .filter(|segment| gutter.is_beside(segment))
            .partition(|segment| gutter.is_left(segment));
        are_columns(&left, &right).then_some(gutter)
    }

    /// The place with the most segments entirely to its left and its right.
    fn candidate(segments: &[Segment]) -> Option<Self> {
        let mut starts: Vec<f64> = segments.iter().map(|segment| segment.u0).collect();
        let mut ends: Vec<f64> = segments.iter().map(|segment| segment.u1).collect();
        starts.sort_by(f64::total_cmp);
        ends.sort_by(f64::total_cmp);
        let gap = 0.5 * segments[segments.len() / 2].size;
        let score = |right: f64| {
            let before = ends.partition_point(|&end| end <= right - gap);
            let after = starts.len() - starts.partition_point(|&start| start < right);
            (before.min(after), before + after)
        };
        let right = starts.iter().copied().max_by_key(|&start| score(start))?;
        (score(right).0 >= MIN_LINES).then_some(Self {
            left: right - gap,
            right,
        })
    }

    fn is_left(&self, segment: &Segment) -> bool {
        segment.u1 <= self.left
    }

    fn is_beside(&self, segment: &Segment) -> bool {
        self.is_left(segment) || segment.u0 >= self.right
    }

    /// Ends a band of segments that do not cross the gutter.
    fn close(
        &self,
        band: &mut Vec<Segment>,
        across: &mut Vec<Segment>,
        depth: u32,
        parts: &mut Vec<Vec<Segment>>,
    ) {
        let band = std::mem::take(band);
        let (left, right): (Vec<_>, Vec<_>) =
            band.into_iter().partition(|segment| self.is_left(segment));
        if left.len() < 2 || right.len() < 2 {
            // A line or two beside nothing: part of the flow around them.
            across.extend(left.into_iter().chain(right));
            across.sort_by_key(|segment| segment.row);
            return;
        }
        if !across.is_empty() {
            parts.push(std::mem::take(across));
        }
        order(left, depth + 1, parts);
        order(right, depth + 1, parts);
    }
}

/// Columns stand beside each other, and are not the cells of a table: those share their baselines and are short.
fn are_columns(left: &[&Segment], right: &[&Segment]) -> bool {
    let (fewer, more) = if left.len() < right.len() {
        (left, right)
    } else {
        (right, left)
    };
    let near = |reach: f64| {
        let near = fewer
            .iter()
            .filter(|segment| distance(segment, more) <= reach * segment.size)
            .count();
        #[expect(clippy::cast_precision_loss, reason = "segments of a page")]
        let share = near as f64 / fewer.len() as f64;
        share
    };
    near(0.8) >= 0.6 && (near(0.1) < 0.6 || (is_prose(left) && is_prose(right)))
}

/// How far the nearest baseline of `others` is; they are in order from the top.
fn distance(segment: &Segment, others: &[&Segment]) -> f64 {
    let below = others.partition_point(|other| other.v > segment.v);
    let around = others[below.saturating_sub(1)..].iter().take(2);
    around
        .map(|other| (other.v - segment.v).abs())
        .fold(f64::INFINITY, f64::min)
}

/// Lines of prose fill their column.
fn is_prose(column: &[&Segment]) -> bool {
    let left = column
        .iter()
        .map(|segment| segment.u0)
        .fold(f64::INFINITY, f64::min);
    let right = column
        .iter()
        .map(|segment| segment.u1)
        .fold(f64::NEG_INFINITY, f64::max);
    let full = column
        .iter()
        .filter(|segment| segment.u1 - segment.u0 > 0.75 * (right - left))
        .count();
    let characters: usize = column.iter().map(|segment| segment.text.len()).sum();
    2 * full >= column.len() && characters >= 20 * column.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(text: &str, u0: f64, u1: f64, row: u32) -> Segment {
        let v = 800.0 - 12.0 * f64::from(row);
        Segment {
            text: text.to_owned(),
            u0,
            u1,
            v,
            size: 10.0,
            bold: false,
            pagination: false,
            row: usize::try_from(row).unwrap(),
            first_word: 20.0,
        }
    }

    fn read(segments: Vec<Segment>) -> Vec<String> {
        parts(segments)
            .into_iter()
            .flatten()
            .map(|segment| segment.text)
            .collect()
    }

    #[test]
    fn columns_are_read_one_after_the_other_under_their_title() {
        let mut segments = vec![segment("a title over both", 150.0, 400.0, 0)];
        for row in 1..=3 {
            segments.push(segment(
                &format!("left column, line number {row}"),
                50.0,
                280.0,
                row,
            ));
            segments.push(segment(
                &format!("right column, line number {row}"),
                310.0,
                540.0,
                row,
            ));
        }
        let read = read(segments);
        assert_eq!(read[0], "a title over both");
        assert!(read[1..4].iter().all(|text| text.starts_with("left")));
        assert!(read[4..7].iter().all(|text| text.starts_with("right")));
    }

    #[test]
    fn the_rows_of_a_table_stay_together() {
        let cells = |row| {
            [
                segment("Plan", 50.0, 80.0, row),
                segment("29 €", 300.0, 330.0, row),
            ]
        };
        let read = read((0..5).flat_map(cells).collect());
        assert_eq!(read[..4], ["Plan", "29 €", "Plan", "29 €"]);
    }

    #[test]
    fn indented_lines_are_no_column() {
        let code = |row: u32| {
            let indent = if row.is_multiple_of(2) { 50.0 } else { 200.0 };
            segment(&row.to_string(), indent, indent + 100.0, row)
        };
        assert_eq!(
            read((0..8).map(code).collect()),
            ["0", "1", "2", "3", "4", "5", "6", "7"]
        );
    }
}
