//! A page's content and its place in upright space.

use hayro_syntax::object::dict::keys;
use hayro_syntax::object::{Array, Stream};
use hayro_syntax::page::{Page, Rotation};

use super::matrix::Matrix;

/// The content streams of a page, decoded. Not the library's own, which would keep every page's content in memory.
pub(super) fn page_content(page: &Page<'_>) -> Vec<u8> {
    let dict = page.raw();
    if let Some(stream) = dict.get::<Stream<'_>>(keys::CONTENTS) {
        return stream
            .decoded_data()
            .map(std::borrow::Cow::into_owned)
            .unwrap_or_default();
    }
    let mut content = Vec::new();
    for stream in dict
        .get::<Array<'_>>(keys::CONTENTS)
        .iter()
        .flat_map(Array::iter::<Stream<'_>>)
    {
        content.extend_from_slice(&stream.decoded_data().unwrap_or_default());
        // A token never goes on in the next stream.
        content.push(b'\n');
    }
    content
}

/// The matrix from a page's own space to upright points from the lower left corner, with its width and height.
pub(super) fn page_matrix(page: &Page<'_>) -> (Matrix, f64, f64) {
    let area = page.intersected_crop_box();
    let (width, height) = page.base_dimensions();
    let (width, height) = (f64::from(width), f64::from(height));
    let (x, y) = (area.x0, area.y0);
    match page.rotation() {
        Rotation::None => (Matrix([1.0, 0.0, 0.0, 1.0, -x, -y]), width, height),
        Rotation::Horizontal => (Matrix([0.0, -1.0, 1.0, 0.0, -y, width + x]), height, width),
        Rotation::Flipped => (
            Matrix([-1.0, 0.0, 0.0, -1.0, width + x, height + y]),
            width,
            height,
        ),
        Rotation::FlippedHorizontal => {
            (Matrix([0.0, 1.0, -1.0, 0.0, height + y, -x]), height, width)
        }
    }
}
