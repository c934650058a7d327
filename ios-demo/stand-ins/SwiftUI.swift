// Declarations of the part of SwiftUI that the demo app uses, as iOS 18's SDK has them, without any function. They were
// written from Apple's documentation: `ios-demo/scripts/typecheck.sh` finds wrong names and types of the app's own code
// with them, not what Xcode alone knows. Nothing ships with this file, and nothing runs with it.
import Foundation
import UniformTypeIdentifiers

private func absent() -> Never { fatalError("this module only declares SwiftUI") }

// MARK: Views

@MainActor @preconcurrency public protocol View {
    associatedtype Body: View
    @ViewBuilder @MainActor @preconcurrency var body: Body { get }
}

extension Never: View {
    public var body: Never { return absent() }
}

/// A view that SwiftUI draws itself.
@MainActor public protocol Primitive: View where Body == Never {}
extension Primitive {
    public var body: Never { return absent() }
}

public struct EmptyView: Primitive {}
public struct TupleView<T>: Primitive {}
public struct ModifiedView: Primitive {}
public struct Either<A, B>: Primitive {}
extension Optional: View where Wrapped: View {
    public var body: Never { return absent() }
}

@MainActor @resultBuilder public struct ViewBuilder {
    public static func buildBlock<each Content: View>(
        _ content: repeat each Content
    ) -> TupleView<(repeat each Content)> { absent() }
    public static func buildIf<Content: View>(_ content: Content?) -> Content? { absent() }
    public static func buildEither<A: View, B: View>(first: A) -> Either<A, B> { absent() }
    public static func buildEither<A: View, B: View>(second: B) -> Either<A, B> { absent() }
}

public struct LocalizedStringKey: ExpressibleByStringInterpolation, Sendable {
    public init(stringLiteral value: String) {}
}

public struct Text: Primitive {
    public init(_ key: LocalizedStringKey) {}
    @_disfavoredOverload public init<S: StringProtocol>(_ content: S) {}
    public func foregroundStyle<S: ShapeStyle>(_ style: S) -> Text { absent() }
    public func font(_ font: Font?) -> Text { absent() }
    public func monospacedDigit() -> Text { absent() }
}

public struct Image: Primitive {
    public init(systemName: String) {}
}

public struct Label: Primitive {
    public init(_ key: LocalizedStringKey, systemImage: String) {}
    @_disfavoredOverload public init<S: StringProtocol>(_ title: S, systemImage: String) {}
    public init<T: View, I: View>(@ViewBuilder title: () -> T, @ViewBuilder icon: () -> I) {}
}

public struct Button: Primitive {
    public init(_ key: LocalizedStringKey, action: @escaping @MainActor () -> Void) {}
    @_disfavoredOverload public init<S: StringProtocol>(_ title: S, action: @escaping @MainActor () -> Void) {}
    public init(_ key: LocalizedStringKey, role: ButtonRole?, action: @escaping @MainActor () -> Void) {}
    public init(_ key: LocalizedStringKey, systemImage: String, action: @escaping @MainActor () -> Void) {}
}

public struct ButtonRole: Sendable {
    public static let cancel = ButtonRole()
}

public struct Toggle: Primitive {
    public init(_ key: LocalizedStringKey, systemImage: String, isOn: Binding<Bool>) {}
}

public struct TextField: Primitive {
    public init(_ key: LocalizedStringKey, text: Binding<String>) {}
    public init(_ key: LocalizedStringKey, text: Binding<String>, axis: Axis) {}
}

public struct ProgressView: Primitive {
    public init<V: BinaryFloatingPoint>(_ key: LocalizedStringKey, value: V?, total: V = 1) {}
    @_disfavoredOverload public init<S: StringProtocol, V: BinaryFloatingPoint>(_ title: S, value: V?, total: V = 1) {}
    public init<V: BinaryFloatingPoint, L: View>(value: V?, total: V = 1, @ViewBuilder label: () -> L) {}
}

public struct LabeledContent: Primitive {
    public init<S: StringProtocol>(_ key: LocalizedStringKey, value: S) {}
    @_disfavoredOverload public init<A: StringProtocol, B: StringProtocol>(_ title: A, value: B) {}
}

public struct ShareLink: Primitive {
    public init(_ key: LocalizedStringKey, item: URL) {}
}

public struct Section: Primitive {
    public init<C: View>(@ViewBuilder content: () -> C) {}
    public init<C: View>(_ key: LocalizedStringKey, @ViewBuilder content: () -> C) {}
    @_disfavoredOverload public init<S: StringProtocol, C: View>(_ title: S, @ViewBuilder content: () -> C) {}
    public init<C: View, F: View>(@ViewBuilder content: () -> C, @ViewBuilder footer: () -> F) {}
    public init<C: View, H: View, F: View>(
        @ViewBuilder content: () -> C, @ViewBuilder header: () -> H, @ViewBuilder footer: () -> F
    ) {}
}

public struct List: Primitive {
    public init<C: View>(@ViewBuilder content: () -> C) {}
}
public struct NavigationStack: Primitive {
    public init<C: View>(@ViewBuilder root: () -> C) {}
}
public struct ScrollView: Primitive {
    public init<C: View>(@ViewBuilder content: () -> C) {}
}
public struct VStack: Primitive {
    public init<C: View>(
        alignment: HorizontalAlignment = .center, spacing: Double? = nil, @ViewBuilder content: () -> C
    ) {}
}
public struct LazyVStack: Primitive {
    public init<C: View>(
        alignment: HorizontalAlignment = .center, spacing: Double? = nil, @ViewBuilder content: () -> C
    ) {}
}
public struct HStack: Primitive {
    public init<C: View>(
        alignment: VerticalAlignment = .center, spacing: Double? = nil, @ViewBuilder content: () -> C
    ) {}
}
public struct GroupBox: Primitive {
    public init<C: View, L: View>(@ViewBuilder content: () -> C, @ViewBuilder label: () -> L) {}
}
public struct ForEach: Primitive {
    public init<Data: RandomAccessCollection, ID: Hashable, C: View>(
        _ data: Data, id: KeyPath<Data.Element, ID>, @ViewBuilder content: @escaping (Data.Element) -> C
    ) {}
    public init<Data: RandomAccessCollection, C: View>(
        _ data: Data, @ViewBuilder content: @escaping (Data.Element) -> C
    ) where Data.Element: Identifiable {}
}

// MARK: App

@MainActor @preconcurrency public protocol App {
    associatedtype Body: Scene
    @SceneBuilder @MainActor @preconcurrency var body: Body { get }
    @MainActor @preconcurrency init()
}
extension App {
    @MainActor public static func main() { absent() }
}
@MainActor public protocol Scene {}
@MainActor @resultBuilder public struct SceneBuilder {
    public static func buildBlock<Content: Scene>(_ content: Content) -> Content { absent() }
}
public struct WindowGroup: Scene {
    public init<C: View>(@ViewBuilder content: () -> C) {}
}

@MainActor public protocol TabContent {}
extension Optional: TabContent where Wrapped: TabContent {}
public struct TabTuple<T>: TabContent {}
@MainActor @resultBuilder public struct TabContentBuilder {
    public static func buildBlock<each Content: TabContent>(
        _ content: repeat each Content
    ) -> TabTuple<(repeat each Content)> { absent() }
    public static func buildIf<Content: TabContent>(_ content: Content?) -> Content? { absent() }
}
public struct Tab: TabContent {
    public init<C: View>(_ key: LocalizedStringKey, systemImage: String, @ViewBuilder content: () -> C) {}
}
public struct TabView: Primitive {
    public init<C: TabContent>(@TabContentBuilder content: () -> C) {}
}

// MARK: State

@MainActor @propertyWrapper public struct State<Value> {
    public init(wrappedValue: Value) {}
    public var wrappedValue: Value {
        get { absent() }
        nonmutating set { absent() }
    }
    public var projectedValue: Binding<Value> { absent() }
}
@MainActor @propertyWrapper public struct AppStorage<Value> {
    public init(wrappedValue: Value, _ key: String) where Value == String {}
    public var wrappedValue: Value {
        get { absent() }
        nonmutating set { absent() }
    }
    public var projectedValue: Binding<Value> { absent() }
}
@MainActor @dynamicMemberLookup public struct Binding<Value> {
    public subscript<Member>(dynamicMember path: WritableKeyPath<Value, Member>) -> Binding<Member> { absent() }
}

// MARK: Values and modifiers

public protocol ShapeStyle: Sendable {}
public struct Color: ShapeStyle {}
extension ShapeStyle where Self == Color {
    public static var red: Color { absent() }
    public static var green: Color { absent() }
    public static var orange: Color { absent() }
}
public struct HierarchicalShapeStyle: ShapeStyle {}
extension ShapeStyle where Self == HierarchicalShapeStyle {
    public static var secondary: HierarchicalShapeStyle { absent() }
    public static var quaternary: HierarchicalShapeStyle { absent() }
}
public struct TintShapeStyle: ShapeStyle {}
extension ShapeStyle where Self == TintShapeStyle {
    public static var tint: TintShapeStyle { absent() }
}
public struct Material: ShapeStyle {}
extension ShapeStyle where Self == Material {
    public static var bar: Material { absent() }
}
extension ShapeStyle {
    public func opacity(_ opacity: Double) -> some ShapeStyle { Color() }
}
public struct AnyShapeStyle: ShapeStyle {
    public init<S: ShapeStyle>(_ style: S) {}
}
public protocol Shape {}
public struct RoundedRectangle: Shape {}
extension Shape where Self == RoundedRectangle {
    public static func rect(cornerRadius: Double) -> RoundedRectangle { absent() }
}
public struct Font: Sendable {
    public static let title2 = Font()
    public static let caption = Font()
    public static let footnote = Font()
    public func monospaced() -> Font { absent() }
}
public enum HorizontalAlignment { case leading, center, trailing }
public enum VerticalAlignment { case top, center, bottom }
public enum VerticalEdge { case top, bottom }
public enum Axis { case horizontal, vertical }
public struct Alignment: Sendable {
    public static let leading = Alignment()
    public static let trailing = Alignment()
}
public struct UnitPoint: Sendable {
    public static let bottom = UnitPoint()
}
public struct TextInputAutocapitalization { public static var never: TextInputAutocapitalization { absent() } }
public struct AccessibilityChildBehavior {
    public static var contain: AccessibilityChildBehavior { absent() }
    public static var combine: AccessibilityChildBehavior { absent() }
}
public protocol TextSelectability {}
public struct EnabledTextSelectability: TextSelectability {}
extension TextSelectability where Self == EnabledTextSelectability {
    public static var enabled: EnabledTextSelectability { absent() }
}
public protocol LabelStyle {}
public struct IconOnlyLabelStyle: LabelStyle {}
extension LabelStyle where Self == IconOnlyLabelStyle {
    public static var iconOnly: IconOnlyLabelStyle { absent() }
}
public protocol TextFieldStyle {}
public struct RoundedBorderTextFieldStyle: TextFieldStyle {}
extension TextFieldStyle where Self == RoundedBorderTextFieldStyle {
    public static var roundedBorder: RoundedBorderTextFieldStyle { absent() }
}

extension View {
    public func id<ID: Hashable>(_ id: ID) -> some View { ModifiedView() }
    public func padding(_ length: Double? = nil) -> some View { ModifiedView() }
    public func font(_ font: Font?) -> some View { ModifiedView() }
    public func foregroundStyle<S: ShapeStyle>(_ style: S) -> some View { ModifiedView() }
    public func background<S: ShapeStyle>(_ style: S) -> some View { ModifiedView() }
    public func background<S: ShapeStyle, T: Shape>(_ style: S, in shape: T) -> some View { ModifiedView() }
    public func frame(maxWidth: Double?, alignment: Alignment) -> some View { ModifiedView() }
    public func disabled(_ disabled: Bool) -> some View { ModifiedView() }
    public func labelStyle<S: LabelStyle>(_ style: S) -> some View { ModifiedView() }
    public func textFieldStyle<S: TextFieldStyle>(_ style: S) -> some View { ModifiedView() }
    public func textSelection<S: TextSelectability>(_ selectability: S) -> some View { ModifiedView() }
    public func textInputAutocapitalization(_ kind: TextInputAutocapitalization?) -> some View { ModifiedView() }
    public func autocorrectionDisabled(_ disable: Bool = true) -> some View { ModifiedView() }
    public func navigationTitle(_ key: LocalizedStringKey) -> some View { ModifiedView() }
    @_disfavoredOverload public func navigationTitle<S: StringProtocol>(_ title: S) -> some View { ModifiedView() }
    public func toolbar<C: View>(@ViewBuilder content: () -> C) -> some View { ModifiedView() }
    public func searchable(text: Binding<String>, prompt: LocalizedStringKey) -> some View { ModifiedView() }
    public func onAppear(perform action: (() -> Void)? = nil) -> some View { ModifiedView() }
    public func onSubmit(_ action: @escaping () -> Void) -> some View { ModifiedView() }
    public func task(_ action: @escaping @MainActor @Sendable () async -> Void) -> some View { ModifiedView() }
    public func task<ID: Equatable>(
        id: ID, _ action: @escaping @MainActor @Sendable () async -> Void
    ) -> some View { ModifiedView() }
    public func defaultScrollAnchor(_ anchor: UnitPoint?) -> some View { ModifiedView() }
    public func safeAreaInset<C: View>(edge: VerticalEdge, @ViewBuilder content: () -> C) -> some View {
        ModifiedView()
    }
    public func accessibilityLabel(_ label: Text) -> some View { ModifiedView() }
    public func accessibilityElement(children: AccessibilityChildBehavior) -> some View { ModifiedView() }
    public func fileImporter(
        isPresented: Binding<Bool>, allowedContentTypes: [UTType],
        onCompletion: @escaping (Result<URL, any Error>) -> Void
    ) -> some View { ModifiedView() }
}
