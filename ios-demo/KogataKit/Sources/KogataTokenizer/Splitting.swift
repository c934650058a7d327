extension NormalizedText {
    /// The parts of a text around and at the matches of a pattern.
    func split(_ pattern: Regex, _ behavior: SplitBehavior, inverted: Bool = false) -> [NormalizedText] {
        var spans: [Span] = []
        var last = 0
        for match in pattern.matches(in: scalars) {
            if last != match.lowerBound { spans.append(Span(last..<match.lowerBound, inverted)) }
            spans.append(Span(match, !inverted))
            last = match.upperBound
        }
        if last != scalars.count { spans.append(Span(last..<scalars.count, inverted)) }
        return split(spans, behavior)
    }

    /// The parts of a text around and at the members of a set.
    func split(_ set: ScalarSet, _ behavior: SplitBehavior) -> [NormalizedText] {
        var spans: [Span] = []
        var last = 0
        for (index, scalar) in scalars.enumerated() where set.contains(scalar) {
            if last < index { spans.append(Span(last..<index, false)) }
            spans.append(Span(index..<index + 1, true))
            last = index + 1
        }
        if last < scalars.count { spans.append(Span(last..<scalars.count, false)) }
        return split(spans, behavior)
    }

    private struct Span {
        var range: Range<Int>
        let isMatch: Bool

        init(_ range: Range<Int>, _ isMatch: Bool) {
            self.range = range
            self.isMatch = isMatch
        }
    }

    private func split(_ spans: [Span], _ behavior: SplitBehavior) -> [NormalizedText] {
        let parts: [Span]
        switch behavior {
        case .isolated: parts = spans
        case .removed: parts = spans.filter { !$0.isMatch }
        case .contiguous: parts = Self.merged(spans) { $0 == $1 }
        case .mergedWithPrevious: parts = Self.merged(spans) { !$0 && $1 }
        case .mergedWithNext: parts = Self.merged(spans.reversed()) { !$0 && $1 }.reversed()
        }
        if parts.count == 1, parts[0].range == scalars.indices, origins == nil { return [self] }
        return parts.map { slice($0.range) }
    }

    /// Joins a span to the one before it where `joins(previous is a match, this is a match)`. Before the first span
    /// there is no match.
    private static func merged(_ spans: [Span], _ joins: (Bool, Bool) -> Bool) -> [Span] {
        var result: [Span] = []
        var previous = false
        for span in spans {
            if joins(previous, span.isMatch), let last = result.last {
                let (low, high) = (last.range.lowerBound, last.range.upperBound)
                let range = min(low, span.range.lowerBound)..<max(high, span.range.upperBound)
                result[result.count - 1].range = range
            } else {
                result.append(span)
            }
            previous = span.isMatch
        }
        return result
    }
}
