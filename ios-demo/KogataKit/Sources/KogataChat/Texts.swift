/// `text` without white space at both ends, as Python's `str.strip()` and so Jinja's `trim` do it.
///
/// Swift's own `isWhitespace` differs: it lacks U+001C … U+001F.
func trimmed(_ text: String) -> String {
    let scalars = text.unicodeScalars
    guard let first = scalars.firstIndex(where: { !isPythonSpace($0) }),
        let last = scalars.lastIndex(where: { !isPythonSpace($0) })
    else { return "" }
    return String(scalars[first...last])
}

/// Whether Python's `str.isspace()` holds for this scalar.
func isPythonSpace(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x09...0x0d, 0x1c...0x20, 0x85, 0xa0, 0x1680, 0x2000...0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000: true
    default: false
    }
}

/// Whether `part` stands in `text`, byte by byte. `String.contains` compares whole characters: it misses "a" before a
/// combining accent.
func contains(_ part: String, in text: String) -> Bool {
    part.isEmpty || endOfLast(part, in: text) != nil
}

/// Where the last `part` in `text` ends; nil if `text` doesn't contain it.
func endOfLast(_ part: String, in text: String) -> String.Index? {
    let (needle, hay) = (Array(part.utf8), Array(text.utf8))
    guard let first = needle.first, needle.count <= hay.count else { return nil }
    let start = (0...(hay.count - needle.count)).last { start in
        hay[start] == first && hay[start..<(start + needle.count)].elementsEqual(needle)
    }
    return start.map { text.utf8.index(text.startIndex, offsetBy: $0 + needle.count) }
}
