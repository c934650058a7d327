#if canImport(CoreML)
    import CoreML
    import Foundation

    /// Token ids as `[1, ids.count]`, int32.
    func tokenArray(_ ids: [Int]) throws -> MLMultiArray {
        let array = try MLMultiArray(shape: [1, NSNumber(value: ids.count)], dataType: .int32)
        array.withUnsafeMutableBytes { bytes, strides in
            let numbers = bytes.bindMemory(to: Int32.self)
            for (index, id) in ids.enumerated() { numbers[index * strides[1]] = Int32(id) }
        }
        return array
    }

    /// A mask `[1, 1, 1, width]` that hides nothing, float16.
    func zeroMask(width: Int) throws -> MLMultiArray {
        let array = try MLMultiArray(shape: [1, 1, 1, NSNumber(value: width)], dataType: .float16)
        // New arrays contain whatever was in the memory.
        array.withUnsafeMutableBytes { bytes, _ in _ = bytes.initializeMemory(as: UInt8.self, repeating: 0) }
        return array
    }

    extension MLMultiArray {
        /// The last `count` rows of `[1, rows, width]`.
        func rows(name: String, last count: Int) throws -> [[Float]] {
            let sizes = shape.map(\.intValue)
            guard sizes.count == 3, sizes[0] == 1, sizes[1] >= count else {
                throw EngineError.unexpectedShape(name: name, shape: sizes)
            }
            let steps = strides.map(\.intValue)
            return try ((sizes[1] - count)..<sizes[1]).map { row in
                try read(name: name, at: row * steps[1], count: sizes[2], step: steps[2])
            }
        }

        /// All numbers, in row-major order.
        func numbers(name: String) throws -> [Float] {
            let sizes = shape.map(\.intValue)
            let steps = strides.map(\.intValue)
            guard let width = sizes.last, let step = steps.last else { return [] }
            // Where each innermost row begins. Rows aren't always next to each other: processors pad them.
            var starts = [0]
            for axis in sizes.indices.dropLast() {
                starts = starts.flatMap { start in (0..<sizes[axis]).map { start + $0 * steps[axis] } }
            }
            return try starts.flatMap { try read(name: name, at: $0, count: width, step: step) }
        }

        private func read(name: String, at start: Int, count: Int, step: Int) throws -> [Float] {
            // The Neural Engine may report a stride of 0 for a row whose numbers lie next to each other.
            let step = max(1, step)
            return try withUnsafeBytes { bytes in
                switch dataType {
                case .float16:
                    let bits = bytes.bindMemory(to: UInt16.self)
                    return (0..<count).map { float(half: bits[start + $0 * step]) }
                case .float32:
                    let numbers = bytes.bindMemory(to: Float.self)
                    return (0..<count).map { numbers[start + $0 * step] }
                default: throw EngineError.unsupportedType(name: name, type: "\(dataType.rawValue) of Core ML")
                }
            }
        }
    }
#endif
