//! Affine transformations in PDF's notation: `[a b c d e f]`.

#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix(pub(super) [f64; 6]);

#[expect(
    clippy::many_single_char_names,
    reason = "the names the PDF specification gives them"
)]
impl Matrix {
    pub(super) const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    pub(super) fn translation(x: f64, y: f64) -> Self {
        Self([1.0, 0.0, 0.0, 1.0, x, y])
    }

    /// This transformation, then `next`.
    pub(super) fn then(self, next: Self) -> Self {
        let ([a, b, c, d, e, f], [na, nb, nc, nd, ne, nf]) = (self.0, next.0);
        Self([
            a * na + b * nc,
            a * nb + b * nd,
            c * na + d * nc,
            c * nb + d * nd,
            e * na + f * nc + ne,
            e * nb + f * nd + nf,
        ])
    }

    pub(super) fn apply(&self, x: f64, y: f64) -> (f64, f64) {
        let (vx, vy) = self.apply_vector(x, y);
        (vx + self.0[4], vy + self.0[5])
    }

    pub(super) fn apply_vector(&self, x: f64, y: f64) -> (f64, f64) {
        let [a, b, c, d, ..] = self.0;
        (a * x + c * y, b * x + d * y)
    }

    /// How tall a unit becomes.
    pub(super) fn vertical_scale(&self) -> f64 {
        self.0[2].hypot(self.0[3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transformations_follow_each_other() {
        let matrix = Matrix([2.0, 0.0, 0.0, 3.0, 0.0, 0.0]).then(Matrix::translation(1.0, 1.0));
        assert_eq!(matrix.apply(1.0, 1.0), (3.0, 4.0));
        assert!((matrix.vertical_scale() - 3.0).abs() < 1e-9);
    }
}
