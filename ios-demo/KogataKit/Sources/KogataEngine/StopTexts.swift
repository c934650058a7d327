/// Finds stop texts in a text that arrives in pieces, and holds back what may be the beginning of one.
///
/// Compares UTF-8, so that a stop text that ends within a grapheme (a line end before a combining mark) is found too.
public struct StopTexts: Sendable {
    private let stops: [[UInt8]]
    private var held: [UInt8] = []

    /// Empty texts are ignored.
    public init(_ texts: [String]) {
        stops = texts.map { Array($0.utf8) }.filter { !$0.isEmpty }
    }

    /// Adds a piece. Returns the text that is certain to come before any stop text, and the stop text that was found.
    public mutating func append(_ piece: String) -> (text: String, found: String?) {
        guard !stops.isEmpty else { return (piece, nil) }
        held += Array(piece.utf8)
        for start in held.indices {
            let rest = held[start...]
            guard let stop = stops.first(where: { rest.starts(with: $0) }) else { continue }
            defer { held = [] }
            return (String(decoding: held[..<start], as: UTF8.self), String(decoding: stop, as: UTF8.self))
        }
        // Everything from the first place on where a stop text may begin is held back.
        let open = held.indices.first { start in
            stops.contains { $0.starts(with: held[start...]) }
        }
        defer { held = Array(held[(open ?? held.endIndex)...]) }
        return (String(decoding: held[..<(open ?? held.endIndex)], as: UTF8.self), nil)
    }

    /// The text that was held back, at the end of an answer in which no stop text came.
    public mutating func finish() -> String {
        defer { held = [] }
        return String(decoding: held, as: UTF8.self)
    }
}
