/// Reads the fields of one component and names the component in each error.
struct Fields {
    let component: String
    let value: JSON

    /// The component's `type`.
    static func type(of value: JSON, kind: String) throws -> String {
        guard let name = value["type"]?.name else { throw TokenizerError.missingField(name: "type", component: kind) }
        return name
    }

    func optional<T>(_ name: String, _ read: (JSON) -> T?, _ expected: String) throws -> T? {
        guard let field = value[name] else { return nil }
        guard let result = read(field) else {
            throw TokenizerError.wrongField(name: name, component: component, expected: expected)
        }
        return result
    }

    private func required<T>(_ name: String, _ result: T?) throws -> T {
        guard let result else { throw TokenizerError.missingField(name: name, component: component) }
        return result
    }

    func flag(_ name: String, default standard: Bool? = nil) throws -> Bool {
        try required(name, try optional(name, \.flag, "true or false") ?? standard)
    }

    func integer(_ name: String) throws -> Int {
        try required(name, try optional(name, \.integer, "a whole number"))
    }

    func text(_ name: String) throws -> Bytes {
        try required(name, try optional(name, \.text, "a text"))
    }

    func text(_ name: String, default standard: String) throws -> String {
        try optional(name, \.name, "a text") ?? standard
    }

    func scalar(_ name: String) throws -> Scalar {
        let found = scalars(try text(name))
        guard found.count == 1 else {
            throw TokenizerError.wrongField(name: name, component: component, expected: "one character")
        }
        return found[0]
    }

    func items(_ name: String) throws -> [JSON] {
        try required(name, try optional(name, \.items, "a list"))
    }

    func members(_ name: String) throws -> [JSON.Member] {
        try required(name, try optional(name, \.members, "an object"))
    }

    /// {"String": "…"} or {"Regex": "…"}.
    func pattern(_ name: String) throws -> Regex {
        let field = try required(name, value[name])
        if let literal = field["String"]?.name { return Regex(literal: literal) }
        guard let pattern = field["Regex"]?.name else {
            throw TokenizerError.wrongField(name: name, component: component, expected: "a String or a Regex")
        }
        return try Regex(pattern)
    }

    func unsupported(_ setting: String, _ reason: String) -> TokenizerError {
        .unsupportedSetting(component: component, setting: setting, reason: reason)
    }
}
