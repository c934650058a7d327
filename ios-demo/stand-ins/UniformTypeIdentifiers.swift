// Declares what the demo app uses of UniformTypeIdentifiers; see SwiftUI.swift.
public struct UTType: Sendable {
    public static let folder = UTType()
}
