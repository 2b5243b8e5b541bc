// HeliosLevel.cs: put it on the root of a level. It turns the colliders below it (or what is drawn, as meshes) into a
// blockout, and tells of those that move. A HeliosMaterial on an object (or on a parent) names its material; otherwise the renderer's material does.
using System.Collections.Generic;
using HeliosBridge;
using UnityEngine;

public sealed class HeliosLevel : MonoBehaviour
{
    [SerializeField, Tooltip("Hand over what is drawn, as meshes, instead of colliders")] bool fromRenderers = false;
    [SerializeField, Tooltip("Also hand over triggers")] bool withTriggers = false;
    [SerializeField, Tooltip("Material of what names none")] string otherwise = "plaster";

    sealed class Moving
    {
        public Transform Of;
        public uint Id;
        public Vector3 Offset; // of the part's centre, in Of's space
        public Quaternion Turn; // of the part against Of
        public Vector3 Position;
        public Quaternion Rotation;
    }

    readonly List<HeliosPart> parts = new List<HeliosPart>();
    readonly List<Moving> moving = new List<Moving>();
    readonly List<HeliosMove> moves = new List<HeliosMove>();

    /// <summary>The level as it stands now. Ids run from 1 in the order of the hierarchy; a capsule takes three.</summary>
    public List<HeliosPart> Collect()
    {
        parts.Clear();
        moving.Clear();
        if (fromRenderers)
        {
            foreach (MeshFilter one in GetComponentsInChildren<MeshFilter>())
            {
                Renderer drawn = one.GetComponent<Renderer>();
                if (drawn != null && drawn.enabled) Mesh(one, one.sharedMesh);
            }
            return parts;
        }
        foreach (Collider one in GetComponentsInChildren<Collider>())
        {
            if (!one.enabled || (one.isTrigger && !withTriggers)) continue;
            if (one is BoxCollider) Box((BoxCollider)one);
            else if (one is SphereCollider) Sphere((SphereCollider)one);
            else if (one is CapsuleCollider) Capsule((CapsuleCollider)one);
            else if (one is MeshCollider) Mesh(one, ((MeshCollider)one).sharedMesh);
            else Debug.LogWarning("helios-bridge: " + one.name + ": a " + one.GetType().Name + " is not handed over");
        }
        return parts;
    }

    /// <summary>Sends the parts that moved since the last call. Allocates nothing once its list has grown.</summary>
    public void SendMoves(HeliosClient client)
    {
        moves.Clear();
        for (int i = 0; i < moving.Count; i++)
        {
            Moving one = moving[i];
            if (one.Of == null) continue;
            Vector3 position = one.Of.TransformPoint(one.Offset);
            Quaternion rotation = one.Of.rotation * one.Turn;
            if (position == one.Position && rotation == one.Rotation) continue;
            one.Position = position;
            one.Rotation = rotation;
            moves.Add(new HeliosMove { Id = one.Id, Position = Helios.Vector(position), Rotation = Helios.Rotation(rotation) });
        }
        if (moves.Count > 0) client.UpdateScene(null, moves);
    }

    void Box(BoxCollider box)
    {
        Add(box, HeliosShape.Box, box.center, Quaternion.identity, Vector3.Scale(box.size, Size(box.transform)));
    }

    // Unity keeps a sphere round: it takes the largest scale.
    void Sphere(SphereCollider sphere)
    {
        Vector3 scale = Size(sphere.transform);
        float diameter = 2 * sphere.radius * Mathf.Max(scale.x, Mathf.Max(scale.y, scale.z));
        Add(sphere, HeliosShape.Sphere, sphere.center, Quaternion.identity, Vector3.one * diameter);
    }

    // A cylinder and two balls. Unity scales the radius by the larger of the scales across.
    void Capsule(CapsuleCollider capsule)
    {
        Vector3 scale = Size(capsule.transform);
        int along = capsule.direction;
        float across = Mathf.Max(scale[(along + 1) % 3], scale[(along + 2) % 3]);
        float diameter = 2 * capsule.radius * across, height = Mathf.Max(capsule.height * scale[along], diameter);
        Vector3 axis = along == 0 ? Vector3.right : along == 1 ? Vector3.up : Vector3.forward;
        Quaternion turn = Quaternion.FromToRotation(Vector3.up, axis);
        float toBall = (height - diameter) / 2 / Mathf.Max(scale[along], 1e-6f);
        if (height > diameter)
            Add(capsule, HeliosShape.Cylinder, capsule.center, turn, new Vector3(diameter, height - diameter, diameter));
        Add(capsule, HeliosShape.Sphere, capsule.center + axis * toBall, turn, Vector3.one * diameter);
        if (height > diameter)
            Add(capsule, HeliosShape.Sphere, capsule.center - axis * toBall, turn, Vector3.one * diameter);
    }

    // A scale that turns within itself (a rotated child of a stretched parent) has no exact size; Unity's own estimate is used.
    void Mesh(Component of, Mesh mesh)
    {
        if (mesh == null || mesh.vertexCount > 65536)
        {
            Debug.LogWarning("helios-bridge: " + of.name + ": no mesh, or one of more than 65536 vertices");
            return;
        }
        HeliosPart part = Add(of, HeliosShape.Mesh, Vector3.zero, Quaternion.identity, Size(of.transform));
        Vector3[] vertices = mesh.vertices;
        Vector3 scale = of.transform.lossyScale; // sizes are not negative on the wire: a mirrored axis goes into the vertices
        part.Vertices = new HeliosVector[vertices.Length];
        Vector3 sign = new Vector3(Mathf.Sign(scale.x), Mathf.Sign(scale.y), Mathf.Sign(scale.z));
        for (int i = 0; i < vertices.Length; i++) part.Vertices[i] = Helios.Vector(Vector3.Scale(vertices[i], sign));
        part.Triangles = mesh.triangles;
        if (sign.x * sign.y * sign.z > 0) return;
        for (int i = 0; i + 2 < part.Triangles.Length; i += 3)
        {
            int second = part.Triangles[i + 1];
            part.Triangles[i + 1] = part.Triangles[i + 2];
            part.Triangles[i + 2] = second;
        }
    }

    HeliosPart Add(Component of, HeliosShape shape, Vector3 centre, Quaternion turn, Vector3 size)
    {
        Transform where = of.transform;
        Moving one = new Moving
        {
            Of = where, Id = (uint)parts.Count + 1, Offset = centre, Turn = turn,
            Position = where.TransformPoint(centre), Rotation = where.rotation * turn,
        };
        if (!of.gameObject.isStatic) moving.Add(one);
        HeliosPart part = new HeliosPart
        {
            Id = one.Id, Shape = shape, Position = Helios.Vector(one.Position), Rotation = Helios.Rotation(one.Rotation),
            Size = Helios.Vector(size),
        };
        Name(of, part);
        parts.Add(part);
        return part;
    }

    void Name(Component of, HeliosPart part)
    {
        HeliosMaterial named = of.GetComponentInParent<HeliosMaterial>();
        Renderer drawn = of.GetComponent<Renderer>();
        part.Material = named != null ? named.Material : drawn != null && drawn.sharedMaterial != null ? Plain(drawn.sharedMaterial.name) : otherwise;
        if (named != null) part.Colour = new HeliosVector(named.Tint.linear.r, named.Tint.linear.g, named.Tint.linear.b);
    }

    static string Plain(string name) { return name.Replace(" (Instance)", "").ToLowerInvariant(); }

    static Vector3 Size(Transform of)
    {
        Vector3 scale = of.lossyScale;
        return new Vector3(Mathf.Abs(scale.x), Mathf.Abs(scale.y), Mathf.Abs(scale.z));
    }
}

static class Helios
{
    public static HeliosVector Vector(Vector3 v) { return new HeliosVector(v.x, v.y, v.z); }
    public static HeliosRotation Rotation(Quaternion q) { return new HeliosRotation(q.x, q.y, q.z, q.w); }
}
