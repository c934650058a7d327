import Foundation

/// One option of a command, as `--help` shows it.
struct Option {
    let name: String
    /// What stands for the value in help; nil: the option has no value.
    let value: String?
    let help: String

    init(_ name: String, _ value: String? = nil, _ help: String) {
        self.name = name
        self.value = value
        self.help = help
    }
}

/// A command line that was read.
struct Arguments {
    private(set) var words: [String] = []
    private var values: [String: [String]] = [:]

    /// Takes `--name value`, `--name=value` and words in any order; what follows `--` are words.
    init(_ line: [String], options: [Option]) throws {
        var rest = line[...]
        while let word = rest.popFirst() {
            if word == "--" {
                words += rest
                break
            }
            guard word.hasPrefix("-"), word != "-" else {
                words.append(word)
                continue
            }
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let option = options.first(where: { $0.name == parts[0] }) else {
                throw UsageError("There is no option \(parts[0]).")
            }
            if option.value == nil {
                guard parts.count == 1 else { throw UsageError("\(option.name) takes no value.") }
                values[option.name, default: []].append("")
            } else if parts.count == 2 {
                values[option.name, default: []].append(String(parts[1]))
            } else if let value = rest.popFirst() {
                values[option.name, default: []].append(value)
            } else {
                throw UsageError("\(option.name) needs a value.")
            }
        }
    }

    func has(_ name: String) -> Bool { values[name] != nil }

    /// All values of an option that may be repeated.
    func all(_ name: String) -> [String] { values[name] ?? [] }

    /// The value of an option; the last one counts.
    func text(_ name: String) -> String? { values[name]?.last }

    /// The number that an option states.
    func number<Number: LosslessStringConvertible>(_ name: String, _ type: Number.Type = Number.self) throws
        -> Number?
    {
        guard let text = text(name) else { return nil }
        guard let number = Number(text) else { throw UsageError("\(name) takes a number, not '\(text)'.") }
        return number
    }

    /// A whole number of at least 1.
    func count(_ name: String) throws -> Int? {
        guard let number = try number(name, Int.self) else { return nil }
        guard number >= 1 else { throw UsageError("\(name) must be at least 1.") }
        return number
    }

    /// The bundle: the first word.
    func bundle() throws -> URL {
        guard let path = words.first else { throw UsageError("Name the bundle's folder.") }
        return URL(fileURLWithPath: path)
    }
}

/// A command line that can't be understood.
struct UsageError: LocalizedError {
    let errorDescription: String?

    init(_ description: String) { errorDescription = description }
}
