/// Token texts and their ids, by bytes. One pool holds all texts; the index is open addressing over it.
struct TokenTable: Sendable {
    private var pool = Bytes()
    private var starts: [Int] = [0]
    private var ids: [Int] = []
    private var slots: [Int32]
    private var byID: [Int: Int32] = [:]
    /// The longest text in bytes.
    private(set) var longest = 0

    init(capacity: Int) {
        slots = Array(repeating: -1, count: Self.slotCount(capacity))
        starts.reserveCapacity(capacity + 1)
        ids.reserveCapacity(capacity)
        byID.reserveCapacity(capacity)
    }

    var count: Int { ids.count }

    /// The later of two equal texts keeps the id.
    mutating func set(_ text: Bytes, id: Int) {
        if (ids.count + 1) * 2 > slots.count { grow() }
        let slot = text.withUnsafeBufferPointer { self.slot(of: $0) }
        let entry: Int32
        if slots[slot] >= 0 {
            entry = slots[slot]
            ids[Int(entry)] = id
        } else {
            entry = Int32(ids.count)
            slots[slot] = entry
            pool += text
            starts.append(pool.count)
            ids.append(id)
            longest = max(longest, text.count)
        }
        byID[id] = entry
    }

    func id(of text: UnsafeBufferPointer<UInt8>) -> Int? {
        let entry = slots[slot(of: text)]
        return entry < 0 ? nil : ids[Int(entry)]
    }

    func id(of text: Bytes) -> Int? {
        text.withUnsafeBufferPointer { id(of: $0) }
    }

    func text(of id: Int) -> Bytes? {
        guard let entry = byID[id] else { return nil }
        return Bytes(pool[starts[Int(entry)]..<starts[Int(entry) + 1]])
    }

    /// All texts with their ids, in the order of their first appearance.
    func visit(_ body: (Bytes, Int) -> Void) {
        for entry in ids.indices { body(Bytes(pool[starts[entry]..<starts[entry + 1]]), ids[entry]) }
    }

    private static func slotCount(_ entries: Int) -> Int {
        var count = 16
        while count < entries * 2 + 2 { count *= 2 }
        return count
    }

    private mutating func grow() {
        slots = Array(repeating: -1, count: slots.count * 2)
        for entry in ids.indices {
            let slot = pool[starts[entry]..<starts[entry + 1]].withUnsafeBufferPointer { self.slot(of: $0) }
            slots[slot] = Int32(entry)
        }
    }

    /// The slot that holds this text, or the free one where it would go.
    private func slot(of text: UnsafeBufferPointer<UInt8>) -> Int {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a, finished with a multiplication for the low bits
        for byte in text { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        hash = (hash ^ hash >> 29) &* 0xBF58_476D_1CE4_E5B9
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash ^ hash >> 32) & mask
        while slots[slot] >= 0, !equal(Int(slots[slot]), text) { slot = (slot + 1) & mask }
        return slot
    }

    private func equal(_ entry: Int, _ text: UnsafeBufferPointer<UInt8>) -> Bool {
        let start = starts[entry]
        guard starts[entry + 1] - start == text.count else { return false }
        return pool.withUnsafeBufferPointer { pool in
            for index in text.indices where pool[start + index] != text[index] { return false }
            return true
        }
    }
}

/// A map from pairs of 32-bit numbers to two 32-bit numbers, open addressing.
struct PairTable: Sendable {
    struct Value: Sendable {
        var first: Int32
        var second: Int32
    }

    private var keys: [UInt64]
    private var values: [Value]
    private var count = 0
    private static let free = UInt64.max

    init(capacity: Int) {
        var slots = 16
        while slots < capacity * 2 + 2 { slots *= 2 }
        keys = Array(repeating: Self.free, count: slots)
        values = Array(repeating: Value(first: 0, second: 0), count: slots)
    }

    subscript(_ left: Int32, _ right: Int32) -> Value? {
        get {
            let slot = slot(of: Self.key(left, right))
            return keys[slot] == Self.free ? nil : values[slot]
        }
        set {
            guard let newValue else { return }
            if (count + 1) * 2 > keys.count { grow() }
            let key = Self.key(left, right)
            let slot = slot(of: key)
            if keys[slot] == Self.free { count += 1 }
            keys[slot] = key
            values[slot] = newValue
        }
    }

    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    private func slot(of key: UInt64) -> Int {
        let hash = (key ^ key >> 31) &* 0x9E37_79B9_7F4A_7C15
        let mask = keys.count - 1
        var slot = Int(truncatingIfNeeded: hash >> 24) & mask
        while keys[slot] != key, keys[slot] != Self.free { slot = (slot + 1) & mask }
        return slot
    }

    private mutating func grow() {
        let (oldKeys, oldValues) = (keys, values)
        keys = Array(repeating: Self.free, count: oldKeys.count * 2)
        values = Array(repeating: Value(first: 0, second: 0), count: keys.count)
        for (key, value) in zip(oldKeys, oldValues) where key != Self.free {
            let slot = slot(of: key)
            keys[slot] = key
            values[slot] = value
        }
    }
}
