// The few declarations of UnityEngine that the sample uses, written by hand so that it compiles and its collector runs
// without Unity. They behave as Unity documents them, for the cases of the tests: parents, rotation, scale without shear.
using System;
using System.Collections.Generic;

namespace UnityEngine
{
    [AttributeUsage(AttributeTargets.Class)] public sealed class RequireComponent : Attribute { public RequireComponent(Type type) { } }
    [AttributeUsage(AttributeTargets.Field)] public sealed class SerializeField : Attribute { }
    [AttributeUsage(AttributeTargets.Field)] public sealed class HeaderAttribute : Attribute { public HeaderAttribute(string text) { } }
    [AttributeUsage(AttributeTargets.Field)] public sealed class TooltipAttribute : Attribute { public TooltipAttribute(string text) { } }
    [AttributeUsage(AttributeTargets.Field)] public sealed class RangeAttribute : Attribute { public RangeAttribute(float least, float most) { } }

    public static class Mathf
    {
        public static float Max(float a, float b) { return Math.Max(a, b); }
        public static float Abs(float a) { return Math.Abs(a); }
        public static float Sign(float a) { return a >= 0 ? 1 : -1; }
    }

    public struct Vector3
    {
        public float x, y, z;
        public Vector3(float x, float y, float z) { this.x = x; this.y = y; this.z = z; }
        public float this[int i] { get { return i == 0 ? x : i == 1 ? y : z; } }
        public static Vector3 zero { get { return new Vector3(); } }
        public static Vector3 one { get { return new Vector3(1, 1, 1); } }
        public static Vector3 right { get { return new Vector3(1, 0, 0); } }
        public static Vector3 up { get { return new Vector3(0, 1, 0); } }
        public static Vector3 forward { get { return new Vector3(0, 0, 1); } }
        public static Vector3 Scale(Vector3 a, Vector3 b) { return new Vector3(a.x * b.x, a.y * b.y, a.z * b.z); }
        public static Vector3 operator +(Vector3 a, Vector3 b) { return new Vector3(a.x + b.x, a.y + b.y, a.z + b.z); }
        public static Vector3 operator -(Vector3 a, Vector3 b) { return a + b * -1; }
        public static Vector3 operator *(Vector3 a, float s) { return new Vector3(a.x * s, a.y * s, a.z * s); }
        public static bool operator ==(Vector3 a, Vector3 b) { Vector3 d = a - b; return d.x * d.x + d.y * d.y + d.z * d.z < 1e-10f; }
        public static bool operator !=(Vector3 a, Vector3 b) { return !(a == b); }
        public override bool Equals(object other) { return other is Vector3 && (Vector3)other == this; }
        public override int GetHashCode() { return 0; }
    }

    public struct Quaternion
    {
        public float x, y, z, w;
        public Quaternion(float x, float y, float z, float w) { this.x = x; this.y = y; this.z = z; this.w = w; }
        public static Quaternion identity { get { return new Quaternion(0, 0, 0, 1); } }

        // Unity's: the turn about cross(from, to), by the angle between them, in its left-handed axes.
        public static Quaternion FromToRotation(Vector3 from, Vector3 to)
        {
            Vector3 axis = new Vector3(from.y * to.z - from.z * to.y, from.z * to.x - from.x * to.z, from.x * to.y - from.y * to.x);
            double w = 1 + from.x * to.x + from.y * to.y + from.z * to.z, n = Math.Sqrt(axis.x * axis.x + axis.y * axis.y + axis.z * axis.z + w * w);
            return new Quaternion((float)(axis.x / n), (float)(axis.y / n), (float)(axis.z / n), (float)(w / n));
        }

        public static Quaternion operator *(Quaternion a, Quaternion b)
        {
            return new Quaternion(a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y, a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x,
                a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w, a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z);
        }

        public static Vector3 operator *(Quaternion q, Vector3 v)
        {
            Quaternion turned = q * new Quaternion(v.x, v.y, v.z, 0) * new Quaternion(-q.x, -q.y, -q.z, q.w);
            return new Vector3(turned.x, turned.y, turned.z);
        }

        public static bool operator ==(Quaternion a, Quaternion b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w > 0.999999f; }
        public static bool operator !=(Quaternion a, Quaternion b) { return !(a == b); }
        public override bool Equals(object other) { return other is Quaternion && (Quaternion)other == this; }
        public override int GetHashCode() { return 0; }
    }

    public struct Color
    {
        public float r, g, b;
        public Color(float r, float g, float b) { this.r = r; this.g = g; this.b = b; }
        public static Color white { get { return new Color(1, 1, 1); } }
        public Color linear { get { return new Color(Linear(r), Linear(g), Linear(b)); } }
        static float Linear(float s) { return s <= 0.04045f ? s / 12.92f : (float)Math.Pow((s + 0.055) / 1.055, 2.4); }
    }

    public class Object
    {
        public string name = "";
        public static bool operator ==(Object a, Object b) { return ReferenceEquals(a, b); }
        public static bool operator !=(Object a, Object b) { return !ReferenceEquals(a, b); }
        public override bool Equals(object other) { return ReferenceEquals(this, other); }
        public override int GetHashCode() { return 0; }
    }

    public sealed class GameObject : Object
    {
        public bool isStatic;
        public readonly Transform transform;
        internal readonly List<Component> components = new List<Component>();
        public GameObject(string name, Transform parent = null)
        {
            this.name = name;
            transform = AddComponent<Transform>();
            transform.parent = parent;
            if (parent != null) parent.children.Add(transform);
        }
        public T AddComponent<T>() where T : Component, new()
        {
            T made = new T { gameObject = this, name = name };
            components.Add(made);
            return made;
        }
    }

    public class Component : Object
    {
        public GameObject gameObject;
        public Transform transform { get { return gameObject.transform; } }
        public T GetComponent<T>() where T : Component
        {
            foreach (Component one in gameObject.components) if (one is T) return (T)one;
            return null;
        }
        public T GetComponentInParent<T>() where T : Component
        {
            T here = GetComponent<T>();
            return here != null || transform.parent == null ? here : transform.parent.GetComponentInParent<T>();
        }
        public T[] GetComponentsInChildren<T>() where T : Component
        {
            List<T> found = new List<T>();
            foreach (Component one in gameObject.components) if (one is T) found.Add((T)one);
            foreach (Transform child in transform.children) found.AddRange(child.GetComponentsInChildren<T>());
            return found.ToArray();
        }
    }

    public sealed class Transform : Component
    {
        public Transform parent;
        internal readonly List<Transform> children = new List<Transform>();
        public Vector3 localPosition, localScale = Vector3.one;
        public Quaternion localRotation = Quaternion.identity;
        public Quaternion rotation { get { return parent == null ? localRotation : parent.rotation * localRotation; } }
        public Vector3 position { get { return parent == null ? localPosition : parent.TransformPoint(localPosition); } }
        public Vector3 lossyScale { get { return parent == null ? localScale : Vector3.Scale(parent.lossyScale, localScale); } }
        public Vector3 TransformPoint(Vector3 p)
        {
            Vector3 here = localPosition + localRotation * Vector3.Scale(localScale, p);
            return parent == null ? here : parent.TransformPoint(here);
        }
    }

    public class Behaviour : Component { public bool enabled = true; }
    public class MonoBehaviour : Behaviour { }
    public sealed class Camera : Behaviour { public float fieldOfView = 60; }
    public class Collider : Component { public bool enabled = true, isTrigger; }
    public sealed class BoxCollider : Collider { public Vector3 center, size = Vector3.one; }
    public sealed class SphereCollider : Collider { public Vector3 center; public float radius = 0.5f; }
    public sealed class CapsuleCollider : Collider { public Vector3 center; public float radius = 0.5f, height = 2; public int direction = 1; }
    public sealed class MeshCollider : Collider { public Mesh sharedMesh; }
    public sealed class TerrainCollider : Collider { }
    public sealed class Mesh : Object { public Vector3[] vertices; public int[] triangles; public int vertexCount { get { return vertices.Length; } } }
    public class Material : Object { public Texture mainTexture; }
    public sealed class MeshFilter : Component { public Mesh sharedMesh; }
    public class Renderer : Component { public bool enabled = true; public Material sharedMaterial; public Material material { get { return sharedMaterial; } } }
    public class Texture : Object { public int width, height; }
    public enum TextureFormat { RGB24 = 3 }
    public sealed class Texture2D : Texture
    {
        public byte[] raw;
        public int applied;
        public Texture2D(int width, int height, TextureFormat format, bool mipChain) { this.width = width; this.height = height; raw = new byte[3 * width * height]; }
        public void LoadRawTextureData(byte[] data) { if (data.Length != raw.Length) throw new ArgumentException("data"); Buffer.BlockCopy(data, 0, raw, 0, raw.Length); }
        public void Apply(bool updateMipmaps) { applied++; }
    }
    public static class Application { public static string productName { get { return "a game"; } } }
    public static class Time { public static float unscaledTime; }
    public static class Debug { public static readonly List<string> Warnings = new List<string>(); public static void LogWarning(object text) { Warnings.Add(text.ToString()); } }
}
