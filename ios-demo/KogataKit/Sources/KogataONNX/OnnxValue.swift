import COnnxRuntime
import Foundation
import KogataEngine

/// A tensor that onnxruntime owns.
final class OnnxValue {
    let pointer: OpaquePointer
    private let library: OnnxLibrary

    /// Takes over a value that onnxruntime made.
    init(_ pointer: OpaquePointer, library: OnnxLibrary) {
        self.pointer = pointer
        self.library = library
    }

    /// A new tensor; its numbers aren't set.
    convenience init(shape: [Int], type: ONNXTensorElementDataType, library: OnnxLibrary) throws {
        var allocator: UnsafeMutablePointer<OrtAllocator>?
        try library.check(library.api.pointee.GetAllocatorWithDefaultOptions(&allocator))
        var value: OpaquePointer?
        let sizes = shape.map(Int64.init)
        try library.check(
            library.api.pointee.CreateTensorAsOrtValue(allocator, sizes, sizes.count, type, &value))
        guard let value else { throw EngineError.runtimeFailed("onnxruntime made no tensor") }
        self.init(value, library: library)
    }

    /// A tensor of whole numbers, `[1, ids.count]`.
    convenience init(_ ids: [Int], dtype: String, library: OnnxLibrary) throws {
        switch dtype {
        case "int64":
            try self.init(shape: [1, ids.count], type: ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, library: library)
            try fill(ids.map(Int64.init))
        case "int32":
            try self.init(shape: [1, ids.count], type: ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, library: library)
            try fill(ids.map(Int32.init))
        default: throw EngineError.unsupportedType(name: "an input of ids", type: dtype)
        }
    }

    deinit { library.api.pointee.ReleaseValue(pointer) }

    /// Shape and element type.
    func layout() throws -> (shape: [Int], type: ONNXTensorElementDataType) {
        let api = library.api.pointee
        var info: OpaquePointer?
        try library.check(api.GetTensorTypeAndShape(pointer, &info))
        defer { api.ReleaseTensorTypeAndShapeInfo(info) }
        var count = 0
        try library.check(api.GetDimensionsCount(info, &count))
        var sizes = [Int64](repeating: 0, count: count)
        try library.check(api.GetDimensions(info, &sizes, count))
        var type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED
        try library.check(api.GetTensorElementType(info, &type))
        return (sizes.map(Int.init), type)
    }

    /// The tensor's memory. Valid while the value lives.
    func memory() throws -> UnsafeMutableRawPointer? {
        var data: UnsafeMutableRawPointer?
        try library.check(library.api.pointee.GetTensorMutableData(pointer, &data))
        return data
    }

    /// The last `rows` rows of `[1, n, width]`, or all numbers of the tensor.
    func floats(name: String, lastRows rows: Int? = nil) throws -> FloatTensor {
        let (shape, type) = try layout()
        let total = shape.reduce(1, *)
        let count = rows.map { $0 * (shape.last ?? 0) } ?? total
        guard count <= total else { throw EngineError.unexpectedShape(name: name, shape: shape) }
        let kept = rows.map { [1, $0, shape.last ?? 0] } ?? shape
        guard count > 0, let memory = try memory() else { return FloatTensor(shape: kept, values: []) }
        switch type {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
            let numbers = memory.assumingMemoryBound(to: Float.self) + (total - count)
            return FloatTensor(shape: kept, values: Array(UnsafeBufferPointer(start: numbers, count: count)))
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
            let bits = memory.assumingMemoryBound(to: UInt16.self) + (total - count)
            return FloatTensor(shape: kept, values: UnsafeBufferPointer(start: bits, count: count).map(float(half:)))
        default: throw EngineError.unsupportedType(name: name, type: "\(type.rawValue) of onnxruntime")
        }
    }

    /// The first `length` positions of a cache `[1, heads, positions, width]`.
    func prefix(_ length: Int) throws -> OnnxValue {
        let (shape, type) = try layout()
        guard shape.count == 4, length <= shape[2] else {
            throw EngineError.unexpectedShape(name: "the cache", shape: shape)
        }
        guard length < shape[2] else { return self }
        let cut = try OnnxValue(shape: [shape[0], shape[1], length, shape[3]], type: type, library: library)
        let row = shape[3] * (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 ? 2 : 4)
        guard length > 0, let from = try memory(), let to = try cut.memory() else { return cut }
        for head in 0..<(shape[0] * shape[1]) {
            (to + head * length * row).copyMemory(from: from + head * shape[2] * row, byteCount: length * row)
        }
        return cut
    }

    private func fill<T>(_ numbers: [T]) throws {
        guard let memory = try memory() else { return }
        numbers.withUnsafeBytes { memory.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    }
}
