//! What is refused, and how the answer looks.
