// HeliosMaterial.cs: names what an object and everything below it is made of, for the model.
using UnityEngine;

public sealed class HeliosMaterial : MonoBehaviour
{
    [SerializeField, Tooltip("plaster, grass, stone, brick, planks, tiles, water, foliage, metal, lamp, sand, ...")] string material = "stone";
    [SerializeField] Color tint = Color.white;

    public string Material { get { return material; } set { material = value; } }
    public Color Tint { get { return tint; } set { tint = value; } }
}
