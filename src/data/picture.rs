//! RGB pictures and rectangles in them.

/// An 8-bit RGB picture, rows tightly packed from the top left.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    /// `3 * width * height` bytes, checked by [`Picture::new`].
    rgb: Vec<u8>,
}

/// Refusal of [`Picture::new`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PictureError {
    /// A side is zero.
    #[error("a picture of {width} x {height} pixels has nothing to look at")]
    Empty {
        /// Pixels.
        width: usize,
        /// Pixels.
        height: usize,
    },
    /// The bytes are too few or too many for the size.
    #[error("a picture of {width} x {height} pixels needs {needed} bytes of RGB, got {got}")]
    Size {
        /// Pixels.
        width: usize,
        /// Pixels.
        height: usize,
        /// `3 * width * height`.
        needed: usize,
        /// Bytes given.
        got: usize,
    },
}

impl Picture {
    /// A picture of `width` x `height` pixels.
    ///
    /// # Errors
    /// When a side is zero or `rgb` is not `3 * width * height` bytes.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self, PictureError> {
        // A picture without pixels has no score; it is refused here, so that no later step divides
        // by 0.
        if width == 0 || height == 0 {
            return Err(PictureError::Empty { width, height });
        }

        // A picture has three bytes a pixel, rows packed tightly: every later step relies on it for
        // its indices.
        let needed = 3 * width * height;
        if rgb.len() != needed {
            return Err(PictureError::Size {
                width,
                height,
                needed,
                got: rgb.len(),
            });
        }

        Ok(Picture { width, height, rgb })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// `3 * width * height` bytes, row-major.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The bytes themselves, for their memory to be used again.
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }
}

/// A rectangle of a picture, in its pixels from the top left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Area {
    /// Left column.
    pub x: usize,
    /// Top row.
    pub y: usize,
    /// Width, at least 1.
    pub w: usize,
    /// Height, at least 1.
    pub h: usize,
}

impl Area {
    /// The area of a whole picture of `width` x `height` pixels.
    pub fn whole(width: usize, height: usize) -> Self {
        Area {
            x: 0,
            y: 0,
            w: width,
            h: height,
        }
    }

    /// The largest square in the middle of the area.
    pub fn middle_square(self) -> Self {
        // The remainder of an odd difference is left at the right or the bottom.
        let side = self.w.min(self.h);
        Area {
            x: self.x + (self.w - side) / 2,
            y: self.y + (self.h - side) / 2,
            w: side,
            h: side,
        }
    }

    /// True if the area lies in a picture of `width` x `height` pixels.
    pub fn is_inside(&self, width: usize, height: usize) -> bool {
        // A sum that overflows is beyond every picture.
        let right = self.x.checked_add(self.w);
        let bottom = self.y.checked_add(self.h);
        right.is_some_and(|right| right <= width) && bottom.is_some_and(|bottom| bottom <= height)
    }
}

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{},{},{}", self.x, self.y, self.w, self.h)
    }
}

impl std::str::FromStr for Area {
    type Err = String;

    fn from_str(words: &str) -> Result<Self, String> {
        // The words are four whole numbers with commas between; spaces around them are allowed.
        let numbers: Option<Vec<usize>> = words
            .split(',')
            .map(|number| number.trim().parse().ok())
            .collect();

        // An area without width or height would cover nothing.
        if let Some(&[x, y, w, h]) = numbers.as_deref()
            && w > 0
            && h > 0
        {
            return Ok(Area { x, y, w, h });
        }

        Err(format!(
            "must be x,y,width,height in whole pixels, the sides at least 1; got {words:?}"
        ))
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} x {})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_must_have_all_its_bytes() {
        assert!(Picture::new(2, 1, vec![0; 6]).is_ok());
        assert_eq!(
            Picture::new(2, 1, vec![0; 5]),
            Err(PictureError::Size {
                width: 2,
                height: 1,
                needed: 6,
                got: 5
            })
        );

        assert_eq!(
            Picture::new(0, 1, vec![]),
            Err(PictureError::Empty {
                width: 0,
                height: 1
            })
        );
    }
}
