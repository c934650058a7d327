// Declarations of Core ML, as iOS 18's SDK has them, without any function. `ios-demo/scripts/check.sh` type-checks the
// code for Core ML against them on Linux. Nothing ships with this file, and nothing runs with it.
//
// Classes are not Sendable here because they aren't in the SDK: the compiler then finds the same data races.
import Foundation

private func absent() -> Never { fatalError("this module only declares Core ML") }

public enum MLComputeUnits: Int, Sendable {
    case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine
}

public enum MLMultiArrayDataType: Int, Sendable {
    case double, float64, float32, float, float16, int32
}

open class MLModelConfiguration: NSObject {
    open var computeUnits: MLComputeUnits = .all
    open var functionName: String?
    open var modelDisplayName: String?
    open var optimizationHints = MLOptimizationHints()
    open var allowLowPrecisionAccumulationOnGPU = false
}

public struct MLOptimizationHints: Sendable {
    public enum ReshapeFrequency: Sendable { case frequent, infrequent }
    public enum SpecializationStrategy: Sendable { case `default`, fastPrediction }
    public var reshapeFrequency = ReshapeFrequency.frequent
    public var specializationStrategy = SpecializationStrategy.default
    public init() {}
}

open class MLPredictionOptions: NSObject {}

open class MLState: NSObject {
    // No initializer for users: `MLModel.makeState()` makes states.
    override fileprivate init() { super.init() }

    public func withMultiArray<R>(for stateName: String, _ body: (MLMultiArray) throws -> R) rethrows -> R { absent() }
}

open class MLModel: NSObject {
    public convenience init(contentsOf url: URL) throws { absent() }
    public convenience init(contentsOf url: URL, configuration: MLModelConfiguration) throws { absent() }

    open class func load(
        contentsOf url: URL, configuration: MLModelConfiguration = MLModelConfiguration()
    ) async throws -> MLModel { absent() }
    open class func compileModel(at url: URL) async throws -> URL { absent() }

    open var modelDescription: MLModelDescription { absent() }
    open var configuration: MLModelConfiguration { absent() }

    public func makeState() -> MLState { absent() }
    open func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider { absent() }
    open func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions
    ) throws -> any MLFeatureProvider { absent() }
    open func prediction(from input: any MLFeatureProvider, using state: MLState) throws -> any MLFeatureProvider {
        absent()
    }
    open func prediction(
        from input: any MLFeatureProvider, using state: MLState, options: MLPredictionOptions
    ) throws -> any MLFeatureProvider { absent() }
}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

open class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    public init(dictionary: [String: Any]) throws { absent() }
    open var featureNames: Set<String> { absent() }
    open func featureValue(for featureName: String) -> MLFeatureValue? { absent() }
}

open class MLFeatureValue: NSObject {
    public convenience init(multiArray: MLMultiArray) { absent() }
    public convenience init<Scalar: MLShapedArrayScalar>(shapedArray: MLShapedArray<Scalar>) { absent() }
    open var multiArrayValue: MLMultiArray? { absent() }
    public func shapedArrayValue<Scalar: MLShapedArrayScalar>(of type: Scalar.Type) -> MLShapedArray<Scalar>? {
        absent()
    }
}

open class MLMultiArray: NSObject {
    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws { absent() }
    public convenience init<Scalar: MLShapedArrayScalar>(_ shapedArray: MLShapedArray<Scalar>) { absent() }
    open var shape: [NSNumber] { absent() }
    open var strides: [NSNumber] { absent() }
    open var count: Int { absent() }
    open var dataType: MLMultiArrayDataType { absent() }
    open var dataPointer: UnsafeMutableRawPointer { absent() }
    open subscript(index: Int) -> NSNumber {
        get { absent() }
        set { absent() }
    }
    open subscript(indices: [NSNumber]) -> NSNumber {
        get { absent() }
        set { absent() }
    }
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { absent() }
    public func withUnsafeMutableBytes<R>(
        _ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R
    ) rethrows -> R { absent() }
}

public protocol MLShapedArrayScalar {}
extension Float: MLShapedArrayScalar {}
extension Double: MLShapedArrayScalar {}
extension Int32: MLShapedArrayScalar {}
#if !(os(macOS) && arch(x86_64))
    extension Float16: MLShapedArrayScalar {}
#endif

public struct MLShapedArray<Scalar: MLShapedArrayScalar> {
    public init(scalars: some Sequence<Scalar>, shape: [Int]) { absent() }
    public init(repeating value: Scalar, shape: [Int]) { absent() }
    public init(_ array: MLMultiArray) { absent() }
    public var shape: [Int] { absent() }
    public var strides: [Int] { absent() }
    public var scalars: [Scalar] { absent() }
    public func withUnsafeShapedBufferPointer<R>(
        _ body: (UnsafeBufferPointer<Scalar>, [Int], [Int]) throws -> R
    ) rethrows -> R { absent() }
}

open class MLModelDescription: NSObject {
    open var inputDescriptionsByName: [String: MLFeatureDescription] { absent() }
    open var outputDescriptionsByName: [String: MLFeatureDescription] { absent() }
    open var stateDescriptionsByName: [String: MLFeatureDescription] { absent() }
}

open class MLFeatureDescription: NSObject {
    open var multiArrayConstraint: MLMultiArrayConstraint? { absent() }
}

open class MLMultiArrayConstraint: NSObject {
    open var shape: [NSNumber] { absent() }
    open var dataType: MLMultiArrayDataType { absent() }
}
