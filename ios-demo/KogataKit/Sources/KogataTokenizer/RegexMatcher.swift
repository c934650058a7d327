/// Executes a `RegexProgram` on one text.
struct RegexMatcher {
    private let program: RegexProgram
    private let text: UnsafeBufferPointer<Scalar>
    private var stack: [Choice] = []

    /// A place to go on at after a failure, with every position from `high` down to `low`.
    private struct Choice {
        let instruction: Int
        let low: Int
        var high: Int
    }

    init(program: RegexProgram, text: UnsafeBufferPointer<Scalar>) {
        self.program = program
        self.text = text
    }

    mutating func search(from: Int) -> Range<Int>? {
        var start = from
        while start <= text.count {
            if let first = program.first {
                while start < text.count, !first.contains(text[start]) { start += 1 }
                if start == text.count { return nil }
            }
            if let end = match(from: 0, at: start) { return start..<end }
            start += 1
        }
        return nil
    }

    /// The end of the match of the instructions from `first`; nil where they don't match here.
    private mutating func match(from first: Int, at start: Int) -> Int? {
        let base = stack.count
        defer { stack.removeLast(stack.count - base) }
        var (instruction, position) = (first, start)
        while true {
            var matched = true
            switch program.instructions[instruction] {
            case .set(let set):
                matched = position < text.count && program.sets[set].contains(text[position])
                position += 1
                instruction += 1
            case .run(let set, let least, let most, let possessive):
                let end = runEnd(program.sets[set], from: position, most: most)
                matched = end - position >= least
                instruction += 1
                if matched, !possessive, end - position > least {
                    stack.append(Choice(instruction: instruction, low: position + least, high: end - 1))
                }
                position = end
            case .split(let preferred, let other):
                stack.append(Choice(instruction: other, low: position, high: position))
                instruction = preferred
            case .jump(let target):
                instruction = target
            case .look(let end, let negative, let behind):
                matched = looks(from: instruction + 1, at: position, behind: behind) != negative
                instruction = end
            case .atomic(let end):
                if let after = match(from: instruction + 1, at: position) {
                    position = after
                } else {
                    matched = false
                }
                instruction = end
            case .assertion(let kind):
                matched = holds(kind, at: position)
                instruction += 1
            case .accept:
                return position
            }
            if !matched {
                guard stack.count > base, let choice = stack.last else { return nil }
                (instruction, position) = (choice.instruction, choice.high)
                if choice.high > choice.low {
                    stack[stack.count - 1].high -= 1
                } else {
                    stack.removeLast()
                }
            }
        }
    }

    private func runEnd(_ set: ScalarSet, from start: Int, most: Int) -> Int {
        let limit = most < text.count - start ? start + most : text.count
        var end = start
        while end < limit, set.contains(text[end]) { end += 1 }
        return end
    }

    private mutating func looks(from first: Int, at position: Int, behind: Int) -> Bool {
        behind <= position && match(from: first, at: position - behind) != nil
    }

    private func holds(_ assertion: RegexNode.Assertion, at position: Int) -> Bool {
        switch assertion {
        case .lineStart:
            // Ruby's ^ doesn't match after the newline that ends the text.
            return position == 0 || (position < text.count && text[position - 1] == 0x0A)
        case .lineEnd: return position == text.count || text[position] == 0x0A
        case .textStart: return position == 0
        case .textEnd: return position == text.count
        case .textEndOrNewline:
            return position == text.count || (position == text.count - 1 && text[position] == 0x0A)
        case .word: return isWord(position - 1) != isWord(position)
        case .notWord: return isWord(position - 1) == isWord(position)
        }
    }

    private func isWord(_ position: Int) -> Bool {
        text.indices.contains(position) && UnicodeTables.wordOfOniguruma.contains(text[position])
    }
}
